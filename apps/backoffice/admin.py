"""What belongs to no single app on the desk: the audit trail, the jobs, the schedule, checks."""

from django.contrib import admin
from django_celery_beat import models as beat
from unfold.paginator import InfinitePaginator

from apps.backoffice.models import BooksCheck, ClockAdvance
from apps.core.clock import now
from apps.core.models import (
    AuditEvent,
    AuditHead,
    AuditPending,
    AuditSeal,
    Heartbeat,
    IdempotencyRecord,
    Job,
)
from apps.tenants.desk import (
    Desk,
    Verb,
    choice,
    document,
    ident,
    instant,
    link,
    named,
    plain,
    reference,
)
from apps.tenants.operations import revive_job

for _model in (
    beat.PeriodicTask,
    beat.IntervalSchedule,
    beat.CrontabSchedule,
    beat.SolarSchedule,
    beat.ClockedSchedule,
):
    admin.site.unregister(_model)


@admin.register(AuditEvent)
class AuditEventDesk(Desk):
    resource = "audit"
    list_display = (
        plain("type"),
        plain("object_id", "about"),
        plain("actor"),
        instant("at"),
        document("data"),
    )
    search_fields = ("=object_id", "=type", "=actor")
    search_help_text = "The exact id, type or actor."
    list_filter = ("object_type",)
    ordering = ("-id",)
    paginator = InfinitePaginator
    sortable_by = ()


@admin.register(AuditSeal)
class AuditSealDesk(Desk):
    resource = "audit"
    list_display = (plain("number"), link("event"))
    related = ("event",)
    ordering = ("-id",)
    paginator = InfinitePaginator
    sortable_by = ()


@admin.register(AuditPending)
class AuditPendingDesk(Desk):
    resource = "audit"
    list_display = (reference("event_id", "core.auditevent"),)
    ordering = ("event_id",)
    when_empty = "Every event is linked into its chain."


@admin.register(AuditHead)
class AuditHeadDesk(Desk):
    resource = "audit"
    list_display = (named("chain"), plain("number", "events sealed"))
    ordering = ("tenant_id",)


@admin.register(Job)
class JobDesk(Desk):
    resource = "jobs"
    list_display = (
        plain("name"),
        choice("state"),
        plain("attempts"),
        instant("due_at", "due"),
        instant("ended_at", "ended"),
        plain("reason"),
    )
    list_filter = ("state", "name")
    link_filters = ("attempts",)
    search_fields = ("name", "reason")
    ordering = ("-id",)
    related = ("after",)
    paginator = InfinitePaginator
    sortable_by = ()
    verbs = (
        Verb(
            name="revive",
            label="Revive",
            icon="restart_alt",
            resource="jobs",
            run=lambda job, by: revive_job(job.id, actor=by.actor, at=now()),
            fits=lambda job: job.state == Job.State.DEAD,
        ),
    )


@admin.register(IdempotencyRecord)
class IdempotencyRecordDesk(Desk):
    resource = "audit"
    list_display = (
        plain("key"),
        plain("principal"),
        plain("status", "answered"),
        instant("created_at", "created"),
    )
    search_fields = ("=key",)
    ordering = ("-id",)
    paginator = InfinitePaginator
    sortable_by = ()


@admin.register(Heartbeat)
class HeartbeatDesk(Desk):
    resource = "jobs"
    tenant_path = ""
    list_display = (plain("name"), instant("beaten_at", "last beat"))


@admin.register(beat.PeriodicTask)
class ScheduleDesk(Desk):
    resource = "jobs"
    plural = "schedule"
    tenant_path = ""
    list_display = (
        plain("name"),
        plain("task"),
        plain("interval", "runs"),
        "enabled",
        instant("last_run_at", "last run"),
        plain("total_run_count", "runs so far"),
    )
    related = ("interval", "crontab", "solar", "clocked")
    ordering = ("name",)


@admin.register(BooksCheck)
class BooksCheckDesk(Desk):
    resource = "ledger"
    plural = "checks of the books"
    list_display = (ident(), instant("checked_at", "checked"), plain("breaches"))
    detail = (ident(), instant("checked_at", "checked"), plain("breaches"), document("details"))
    when_empty = "The books are checked every night, or now: manage.py check_books."


@admin.register(ClockAdvance)
class ClockAdvanceDesk(Desk):
    resource = "test_clocks"
    list_display = (
        link("clock"),
        instant("begins_at", "from"),
        instant("to"),
        instant("reached"),
        plain("steps", "stops"),
        instant("ended_at", "ended"),
        plain("failure"),
    )
    related = ("clock",)
    ordering = ("-id",)
    when_empty = "No test clock has been advanced: POST /api/v1/test-clocks/{id}/advance."
