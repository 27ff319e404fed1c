"""What every app may rely on: the audit trail, the queue of record, remembered answers."""

from typing import ClassVar

from django.db import models

from apps.core.ids import encode, new_id


class Identified(models.Model):
    """A row that callers can name by a TypeID: ``ID_PREFIX`` and its UUIDv7."""

    ID_PREFIX: ClassVar[str]

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)

    class Meta:
        abstract = True

    @property
    def public_id(self) -> str:
        """The id as callers see it."""
        return encode(self.ID_PREFIX, self.id)


class AuditEvent(Identified):
    """One thing that happened. Written once, never changed, outliving what it describes.

    ``tenant_id`` and ``object_id`` are therefore no foreign keys. A row is sealed into its
    tenant's hash chain afterwards (``AuditSeal``), so writing one waits for nobody.
    """

    ID_PREFIX = "aud"

    tenant_id = models.UUIDField()
    type = models.CharField(max_length=80)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=40)
    actor = models.CharField(max_length=120)
    at = models.DateTimeField()
    # scalars only, so that what is hashed survives the trip through jsonb unchanged
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ("at", "id")
        indexes = (
            models.Index(fields=("tenant_id", "object_id", "at"), name="audit_by_object"),
            models.Index(fields=("tenant_id", "at"), name="audit_by_time"),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.object_id}"


class AuditPending(models.Model):
    """An audit event that has no seal yet; a trigger adds it, the sealer takes it away.

    The table has one more column, ``written_xid``: the transaction that wrote the event.
    """

    event_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()

    def __str__(self) -> str:
        return encode(AuditEvent.ID_PREFIX, self.event_id)


class AuditSeal(models.Model):
    """One link of a tenant's hash chain: hash = SHA-256(previous hash, number, event)."""

    tenant_id = models.UUIDField()
    number = models.BigIntegerField()
    event = models.OneToOneField(AuditEvent, on_delete=models.PROTECT, related_name="seal")
    hash = models.BinaryField(max_length=32)

    class Meta:
        ordering = ("tenant_id", "number")
        constraints = (
            models.UniqueConstraint(fields=("tenant_id", "number"), name="one_seal_per_number"),
            models.CheckConstraint(condition=models.Q(number__gt=0), name="seal_number_positive"),
        )

    def __str__(self) -> str:
        return f"{self.tenant_id} #{self.number}"


class AuditHead(models.Model):
    """The end of a tenant's chain, so that cutting off its tail shows."""

    tenant_id = models.UUIDField(primary_key=True)
    number = models.BigIntegerField(default=0)
    hash = models.BinaryField(max_length=32)

    def __str__(self) -> str:
        return f"{self.tenant_id} at #{self.number}"


class Job(Identified):
    """One piece of work to do, written with the change that calls for it.

    PostgreSQL is the queue of record; Celery and Redis only carry the hint that something is
    due. ``due_at`` is wall-clock time. ``state`` is moved by ``core.jobs`` alone, with
    conditional updates, because claiming must be one statement.
    """

    ID_PREFIX = "job"

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        DONE = "done"
        DEAD = "dead"

    tenant_id = models.UUIDField()
    name = models.CharField(max_length=80)
    arguments = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    due_at = models.DateTimeField()
    # set while running: after it the claim has lapsed and anybody may take the job again
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    # runs only once that job is done; dies with it
    after = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="next_jobs")
    reason = models.TextField(blank=True, default="")  # why the last attempt failed
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("due_at", "id")
        indexes = (
            models.Index(
                fields=("due_at", "id"),
                condition=models.Q(state__in=["pending", "running"]),
                name="jobs_open",
            ),
            models.Index(fields=("tenant_id", "state"), name="jobs_by_tenant"),
        )
        constraints = (
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "running", "done", "dead"]),
                name="job_state_known",
            ),
            models.CheckConstraint(
                condition=models.Q(state="running", lease_until__isnull=False)
                | (~models.Q(state="running") & models.Q(lease_until__isnull=True)),
                name="job_lease_while_running",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["done", "dead"], ended_at__isnull=False)
                | (models.Q(state__in=["pending", "running"]) & models.Q(ended_at__isnull=True)),
                name="job_ended_when_over",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.state}"


class IdempotencyRecord(models.Model):
    """What was answered to a write that carried an ``Idempotency-Key``.

    ``effect_id`` is chosen when the key is first seen and becomes the id of what the request
    creates; so a request that crashed after its effect can be repeated and makes nothing twice.
    """

    tenant_id = models.UUIDField()
    principal = models.CharField(max_length=120)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)  # SHA-256 of method, path, query and body
    effect_id = models.UUIDField(default=new_id)
    leased_until = models.DateTimeField()  # in progress until then, unless answered
    status = models.PositiveSmallIntegerField(null=True)
    body = models.BinaryField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant_id", "principal", "key"), name="idempotency_key_once"
            ),
            models.CheckConstraint(
                condition=models.Q(status__isnull=True, body__isnull=True)
                | models.Q(status__isnull=False, body__isnull=False),
                name="idempotency_answer_whole",
            ),
        )

    def __str__(self) -> str:
        return f"{self.principal} {self.key}"


class Heartbeat(models.Model):
    """When a part of the system last showed that it works: beat → worker → PostgreSQL."""

    name = models.CharField(primary_key=True, max_length=40)
    beaten_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.beaten_at:%Y-%m-%d %H:%M:%S}Z"
