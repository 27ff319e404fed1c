"""The queue of record: jobs are rows; Celery and Redis only carry the hint that some are due.

A job runs at least once. What it calls must therefore be safe to repeat; operations are.
"""

import json
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction
from django.db.models import QuerySet

from apps.core.bulk import Same, insert_rows
from apps.core.failpoints import failpoint
from apps.core.ids import new_id
from apps.core.models import Job
from apps.core.tenancy import tenant_scope

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 8
LEASE: Final = timedelta(minutes=5)
STALLED_AFTER: Final = timedelta(minutes=15)  # a due job nobody has begun: something is wrong
_BACKOFF_BASE: Final = timedelta(seconds=5)
_BACKOFF_CAP: Final = timedelta(hours=6)
_BROKER_PAUSE: Final = 30.0  # seconds
_FOLLOWED: Final = "the job before it"

Work = Callable[..., None]
_WORK: dict[str, Work] = {}


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be written: a registered name and JSON arguments for it."""

    name: str
    tenant_id: UUID
    arguments: Mapping[str, str]
    due_at: datetime | None = None  # None: at once
    after: UUID | None = None  # only once that job is done
    id: UUID = field(default_factory=new_id)


def job(name: str) -> Callable[[Work], Work]:
    """Register a function of a ``tasks`` module as the work of the jobs called ``name``."""

    def register(work: Work) -> Work:
        if name in _WORK:
            raise RuntimeError(f"two functions want to be the job {name}")
        _WORK[name] = work
        return work

    return register


def registered() -> frozenset[str]:
    """Return the names of all jobs that this process can run."""
    return frozenset(_WORK)


def enqueue_all(jobs: Iterable[NewJob]) -> None:
    """Write jobs in the caller's transaction; after its commit, hint that there is work."""
    rows = list(jobs)
    if not rows:
        return
    wall = _wall_clock()
    insert_rows(
        Job,
        {
            "id": [new.id for new in rows],
            "tenant_id": [new.tenant_id for new in rows],
            "name": [new.name for new in rows],
            "arguments": [json.dumps(dict(new.arguments)).encode() for new in rows],
            "state": Same(Job.State.PENDING),
            "due_at": [new.due_at or wall for new in rows],
            "attempts": Same(0),
            "after": [new.after for new in rows],
            "reason": Same(""),
            "created_at": Same(wall),
        },
    )
    failpoint("core.jobs.after_enqueue")
    _hint_on_commit()


def _hint_on_commit() -> None:
    hooks = [hook for _, hook, *_ in transaction.get_connection().run_on_commit]
    if hint not in hooks:
        transaction.on_commit(hint)


def hint() -> None:
    """Tell a worker that jobs may be due. Losing the hint costs a minute, until the sweep.

    A broker that does not answer is left alone for half a minute, so that writes stay fast.
    """
    failpoint("core.jobs.before_hint")
    if monotonic() < _broker.away_until:
        return
    try:
        current_app.tasks["core.run_due_jobs"].delay()
    except Exception as error:  # noqa: BLE001 -- the change is committed; no hint may undo that
        _broker.away_until = monotonic() + _BROKER_PAUSE
        logger.warning("the broker does not answer (%s); the sweep will find the jobs", error)


@dataclass(slots=True)
class _Broker:
    away_until: float = 0.0


_broker = _Broker()


def run_due(
    *,
    limit: int | None = None,
    tenant_id: UUID | None = None,
    but: str = "",
    within: timedelta | None = None,
) -> int:
    """Run due jobs one after another until none is left, or ``limit`` of them; return how many.

    Any number of workers may do this at once: a job is claimed by one statement that skips
    what others hold. Each runs in the scope of its tenant. With ``tenant_id``, only that tenant's
    jobs; those named ``but`` are left alone. No job is begun after ``within``
    has passed; then another worker is told that there is more.
    """
    begun = monotonic()
    ran = 0
    while limit is None or ran < limit:
        if within is not None and monotonic() - begun > within.total_seconds():
            hint()
            return ran
        claimed = _claim(tenant_id, but)
        if claimed is None:
            return ran
        job_id, of_tenant = claimed
        with tenant_scope(of_tenant):
            _run(Job.objects.select_related("after").get(id=job_id))
        ran += 1
    return ran


def in_hand(tenant_id: UUID, *, but: str = "") -> bool:
    """Say whether a worker that lives is busy with a job of the tenant, not named ``but``."""
    held = Job.objects.filter(tenant_id=tenant_id, state=Job.State.RUNNING).exclude(name=but)
    return held.filter(lease_until__gte=_wall_clock()).exists()


def stalled(at: datetime) -> list[UUID]:
    """Return up to 100 open jobs that somebody should have taken long before ``at``.

    They are due or their worker died with them, and no worker takes them, whosever they are.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT core_stalled_jobs(%s)", [at - STALLED_AFTER])
        return [row[0] for row in cursor.fetchall()]


def revive(job_id: UUID) -> bool:
    """Make a dead job due again with all its attempts; return whether there was one.

    The jobs that died because it did come back with it, and wait for it as before.
    """
    with transaction.atomic():
        revived = _revive(Job.objects.filter(id=job_id))
        fallen = revived
        while fallen:
            fallen = _revive(Job.objects.filter(after__in=fallen, reason__startswith=_FOLLOWED))
        if revived:
            _hint_on_commit()
    return bool(revived)


def _revive(jobs: QuerySet[Job]) -> list[UUID]:
    dead = list(
        jobs.filter(state=Job.State.DEAD)
        .order_by("id")
        .select_for_update(of=("self",))
        .values_list("id", flat=True)
    )
    Job.objects.filter(id__in=dead).update(
        state=Job.State.PENDING, attempts=0, ended_at=None, due_at=_wall_clock()
    )
    return dead


def backoff(attempt: int) -> timedelta:
    """Return how long to wait after the failed ``attempt`` (1, 2, …).

    It quadruples from five seconds to six hours, so that the last attempt comes hours after the
    first; chance takes up to half of it away, so that what failed together is not tried together.
    """
    ceiling: timedelta = min(_BACKOFF_BASE * 4 ** (attempt - 1), _BACKOFF_CAP)
    share: float = random.uniform(0.5, 1)  # noqa: S311 -- spreading load, not a secret
    return ceiling * share


_CLAIM: Final = "SELECT job_id, of_job_tenant FROM core_claim_job(%s::interval, %s, %s)"


def _claim(tenant_id: UUID | None, but: str) -> tuple[UUID, UUID] | None:
    """Return a claimed job and its tenant, in whose scope it is to be run."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [f"{LEASE.total_seconds()} seconds", tenant_id, but])
        job_id, of_tenant = cursor.fetchone()
    return (job_id, of_tenant) if job_id else None


def _run(claimed: Job) -> None:
    failpoint("core.jobs.after_claim")
    if claimed.after is not None and claimed.after.state == Job.State.DEAD:
        _end(claimed, Job.State.DEAD, f"{_FOLLOWED}, {claimed.after.public_id}, is dead")
    elif claimed.attempts > MAX_ATTEMPTS:
        _end(claimed, Job.State.DEAD, f"its worker died with it {MAX_ATTEMPTS} times")
    elif claimed.name not in _WORK:
        _fail(claimed, f"this version of the program knows no job {claimed.name!r}")
    else:
        try:
            _WORK[claimed.name](**claimed.arguments)
        except Exception as error:
            logger.exception("job %s %s failed", claimed.name, claimed.public_id)
            connection.close_if_unusable_or_obsolete()
            _fail(claimed, f"{type(error).__name__}: {error}")
            if isinstance(error, SoftTimeLimitExceeded):
                raise  # the worker is about to be stopped
        else:
            failpoint("core.jobs.after_work")
            _end(claimed, Job.State.DONE, "")
            failpoint("core.jobs.after_end")


def _fail(claimed: Job, reason: str) -> None:
    if claimed.attempts >= MAX_ATTEMPTS:
        _end(claimed, Job.State.DEAD, reason)
        return
    _holding(claimed).update(
        state=Job.State.PENDING,
        lease_until=None,
        due_at=_wall_clock() + backoff(claimed.attempts),
        reason=reason,
    )


def _end(claimed: Job, state: Job.State, reason: str) -> None:
    _holding(claimed).update(state=state, lease_until=None, ended_at=_wall_clock(), reason=reason)


def _holding(claimed: Job) -> QuerySet[Job]:
    # only while the claim is still ours: after a lapsed lease another worker may have it
    return Job.objects.filter(id=claimed.id, state=Job.State.RUNNING, attempts=claimed.attempts)


def _wall_clock() -> datetime:
    # jobs live in real time even where the customers they serve live on a test clock
    return datetime.now(UTC)  # noqa: TID251 -- the queue's own time, no business time
