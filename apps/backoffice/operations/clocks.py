"""Advancing test clocks: everything that comes due on the way happens, in order."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from apps.backoffice.domain import ClockBusy, refuse_too_far
from apps.backoffice.models import ClockAdvance
from apps.backoffice.queries.due import next_due
from apps.core.errors import NotFound
from apps.core.failpoints import failpoint
from apps.core.jobs import NewJob, enqueue_all, in_hand, run_due
from apps.invoicing.operations.accruing import bill_accrued
from apps.invoicing.operations.billing import close_due
from apps.invoicing.operations.closing import mark_overdue
from apps.invoicing.operations.drafts import issue_due
from apps.metering.operations import roll_up
from apps.payments.operations.collecting import retry_collections
from apps.payments.operations.refund_resolving import resolve_refunds
from apps.payments.operations.resolving import resolve_unknown
from apps.subscriptions.operations import apply_due_changes, tell_of_endings
from apps.tenants.domain import ClockBackwards
from apps.tenants.models import TestClock
from apps.tenants.operations import move_clock
from apps.wallets.operations.burning import burn_on_clock, burn_usage
from apps.wallets.operations.due import apply_due

logger = logging.getLogger(__name__)

ACTOR: Final = "system:test_clock"
_JOB: Final = "backoffice.advance_clock"
# how long a request waits for its clock; a job goes on from there
AT_ONCE: Final = timedelta(seconds=10)
_TURN: Final = timedelta(minutes=2)  # how long one job works before it makes room for others
_MARGIN: Final = timedelta(seconds=5)
# how long time stands still for a job that a worker has in hand, and how often it is looked for
_PATIENCE: Final = timedelta(seconds=30)
_PAUSE: Final = timedelta(milliseconds=50)

Progress = Callable[[datetime], None]


@transaction.atomic
def begin_advance(
    clock_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    to: datetime,
    tenant_id: UUID,
    at: datetime,
) -> ClockAdvance:
    """Take down that the clock shall be advanced to ``to``; ``continue_advance`` does it.

    A job is written that takes over a while after ``at`` (real time) in case nobody does. A
    repeat with the same ``id``, or to the same instant while that is under way, returns what is
    there. Raises ``NotFound``, ``ClockBusy``, ``ClockBackwards`` and ``ClockTooFar``.
    """
    clock = TestClock.objects.select_for_update(no_key=True).filter(pk=clock_id).first()
    if clock is None or clock.tenant_id != tenant_id:
        raise NotFound("There is no such test clock.")
    known = ClockAdvance.objects.filter(pk=id, clock=clock).first()
    if known is not None:
        return known
    other = ClockAdvance.objects.filter(clock=clock, ended_at=None).first()
    if other is not None:
        if other.to == to:
            return other
        raise ClockBusy(f"The clock is on its way to {other.to:%Y-%m-%dT%H:%M:%SZ}.")
    if to < clock.now:
        raise ClockBackwards(
            f"The clock stands at {clock.now:%Y-%m-%dT%H:%M:%SZ} and only moves forward.",
            field="to",
        )
    refuse_too_far(clock.now, to)
    advance = ClockAdvance.objects.create(
        id=id,
        tenant_id=tenant_id,
        clock=clock,
        begins_at=clock.now,
        to=to,
        reached=clock.now,
        created_at=at,
    )
    _enqueue(advance, at + AT_ONCE + _MARGIN)
    return advance


def continue_advance(
    advance_id: UUID,
    *,
    actor: str,
    within: timedelta | None = None,
    wall: Callable[[], datetime],
    progress: Progress = lambda _: None,
) -> ClockAdvance:
    """Move the clock on, from due instant to due instant, until it is there or time is up.

    At each stop everything due is done, in the order of ``run_everything_due``. Two that advance
    the same clock at once exclude each other: the second raises ``ClockBusy``. A repeat on one
    that has ended changes nothing. What breaks ends the advance, with the reason.
    """
    advance = ClockAdvance.objects.select_related("clock").get(pk=advance_id)
    if advance.ended_at is not None:
        return advance
    with _alone(advance.clock_id):
        began = monotonic()
        try:
            while not _step(advance, actor, wall):
                progress(advance.reached)
                if within is not None and monotonic() - began > within.total_seconds():
                    return advance
        except Exception as error:
            logger.exception("advancing %s failed at %s", advance.clock.public_id, advance.reached)
            advance.failure = f"{type(error).__name__}: {error}"
        advance.ended_at = wall()
        advance.save(update_fields=["ended_at", "failure"])
    return advance


def advance_clock(
    clock_id: UUID,
    *,
    to: datetime,
    actor: str,
    wall: Callable[[], datetime],
    progress: Progress = lambda _: None,
) -> TestClock:
    """Advance a clock to ``to`` at once, however long it takes, and return it.

    ``wall`` tells the real time, in which those live who are on no clock.

    Raises ``NotFound``, ``ClockBusy`` and ``ClockBackwards``.
    """
    with _alone(clock_id):
        clock = TestClock.objects.filter(pk=clock_id).first()
        if clock is None:
            raise NotFound("There is no such test clock.")
        while not _is_there(clock, to, actor, wall):
            progress(clock.now)
    return clock


def run_everything_due(clock: TestClock, *, wall: datetime) -> None:
    """Do what is due on the clock at the time it shows, in the order in which it builds up.

    Every part looks for due rows itself, so a repeat finds nothing. The readers of events serve
    everybody: those on no clock live at ``wall``.
    """
    at, clock_id, tenant_id = clock.now, clock.id, clock.tenant_id
    apply_due_changes(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    tell_of_endings(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    roll_up()
    burn_usage(wall=wall)
    burn_on_clock(at, clock_id=clock_id, tenant_id=tenant_id)
    apply_due(at, clock_id=clock_id, tenant_id=tenant_id)
    # credit that is bought may pay what is invoiced now; the job that goes on with this very advance
    # would do so within it, and for longer than whoever asked wants to wait
    run_due(tenant_id=tenant_id, but=_JOB)
    close_due(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    bill_accrued(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    issue_due(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    mark_overdue(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    retry_collections(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    resolve_unknown(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    resolve_refunds(at, clock_id=clock_id, tenant_id=tenant_id, actor=ACTOR)
    _finish_jobs(tenant_id)


def _finish_jobs(tenant_id: UUID) -> None:
    """Run the tenant's due jobs, and let workers end those that they have in hand."""
    until = monotonic() + _PATIENCE.total_seconds()
    run_due(tenant_id=tenant_id, but=_JOB)
    while in_hand(tenant_id, but=_JOB):
        if monotonic() > until:
            logger.warning("time goes on for tenant %s while a job of it still runs", tenant_id)
            return
        sleep(_PAUSE.total_seconds())
        run_due(tenant_id=tenant_id, but=_JOB)


def _step(advance: ClockAdvance, actor: str, wall: Callable[[], datetime]) -> bool:
    there = _is_there(advance.clock, advance.to, actor, wall)
    advance.reached = advance.clock.now
    advance.steps += 1
    advance.save(update_fields=["reached", "steps"])
    failpoint("backoffice.clock.after_step")
    return there


def _is_there(clock: TestClock, to: datetime, actor: str, wall: Callable[[], datetime]) -> bool:
    """Do what is due, then move to the next stop; say whether there is none left."""
    run_everything_due(clock, wall=wall())
    failpoint("backoffice.clock.after_due")
    if clock.now >= to:
        return True
    stop = next_due(clock.id, tenant_id=clock.tenant_id, after=clock.now)
    stop = min(stop, to) if stop else to
    clock.now = move_clock(clock.id, to=stop, actor=actor, at=stop).now
    failpoint("backoffice.clock.after_move")
    return False


def _enqueue(advance: ClockAdvance, due_at: datetime) -> None:
    work = {"subject": str(advance.id)}
    enqueue_all([NewJob(_JOB, advance.tenant_id, work, due_at=due_at)])


def take_over(advance_id: UUID, *, wall: Callable[[], datetime]) -> None:
    """Go on with an advance for a while; if that is not enough, leave the rest to another job."""
    advance = continue_advance(advance_id, actor=ACTOR, within=_TURN, wall=wall)
    if advance.ended_at is None:
        with transaction.atomic():
            _enqueue(advance, wall())


@contextmanager
def _alone(clock_id: UUID) -> Iterator[None]:
    key = int.from_bytes(clock_id.bytes[8:], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        if not cursor.fetchone()[0]:
            raise ClockBusy("The clock is being advanced.")
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])
