"""Test clocks: making them, living on them, moving them."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.tenants.domain import ClockAhead, ClockAttached, ClockBackwards, ClockOnLive, Mode
from apps.tenants.models import Tenant, TestClock
from apps.tenants.operations.locking import locked_tenant


@transaction.atomic
def create_clock(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    name: str,
    now: datetime,
    actor: str,
    at: datetime,
) -> TestClock:
    """Create a clock of a tenant in test mode, standing at ``now``; nothing lives on it yet.

    A repeat with the same ``id`` returns the clock as it is. Raises ``ClockOnLive``.
    """
    tenant = locked_tenant(tenant_id)
    known = TestClock.objects.filter(pk=id, tenant=tenant).first()
    if known is not None:
        return known
    _refuse_live(tenant)
    clock = TestClock.objects.create(id=id, tenant=tenant, name=name, now=now)
    record("test_clock.created", clock, actor=actor, at=at, now=now.isoformat())
    return clock


@transaction.atomic
def attach_clock(tenant_id: UUID, clock_id: UUID, *, actor: str, at: datetime) -> Tenant:
    """Let a tenant in test mode, with all customers that have no clock, live on one of its clocks.

    Attaching the same clock again changes nothing. Raises ``NotFound``, ``ClockOnLive`` and, if it
    lives on another, ``ClockAttached``.
    """
    tenant = locked_tenant(tenant_id)
    if tenant.test_clock_id == clock_id:
        return tenant
    _refuse_live(tenant)
    if tenant.test_clock_id is not None:
        raise ClockAttached("This tenant lives on another clock already.", field="test_clock")
    clock = TestClock.objects.filter(pk=clock_id, tenant=tenant).first()
    if clock is None:
        raise NotFound("There is no such test clock.")
    tenant.test_clock = clock
    tenant.save(update_fields=["test_clock"])
    record("test_clock.attached", clock, actor=actor, at=at)
    return tenant


@transaction.atomic
def detach_clock(tenant_id: UUID, *, actor: str, at: datetime) -> Tenant:
    """Let a tenant live in real time again, with all customers that have no clock of their own.

    ``at`` is real time. A tenant without a clock is returned as it is. Raises ``ClockAhead`` while
    the clock shows a later time: what has happened by then would lie in the future.
    """
    tenant = locked_tenant(tenant_id)
    clock = tenant.test_clock
    if clock is None:
        return tenant
    if clock.now > at:
        raise ClockAhead(f"The clock stands at {clock.now:%Y-%m-%dT%H:%M:%SZ}; wait until then.")
    tenant.test_clock = None
    tenant.save(update_fields=["test_clock"])
    record("test_clock.detached", clock, actor=actor, at=at)
    return tenant


@transaction.atomic
def move_clock(clock_id: UUID, *, to: datetime, actor: str, at: datetime) -> TestClock:
    """Set a clock forward to ``to``; runs nothing that falls due. Raises ``ClockBackwards``."""
    clock = TestClock.objects.select_for_update(no_key=True).filter(pk=clock_id).first()
    if clock is None:
        raise NotFound("There is no such test clock.")
    if clock.now == to:
        return clock
    if to < clock.now:
        raise ClockBackwards(
            f"The clock stands at {clock.now:%Y-%m-%dT%H:%M:%SZ} and only moves forward.",
            field="to",
        )
    was, clock.now = clock.now, to
    clock.save(update_fields=["now"])
    record("test_clock.advanced", clock, actor=actor, at=at, to=to.isoformat(), was=was.isoformat())
    failpoint("tenants.move_clock.before_commit")
    return clock


def _refuse_live(tenant: Tenant) -> None:
    if tenant.mode != Mode.TEST:
        raise ClockOnLive("A live tenant lives in real time; use its test mode.")
