"""A tenant leaves its clock for real time, once real time has come that far."""

from datetime import timedelta

import pytest

from apps.core.models import AuditEvent
from apps.tenants.domain import ClockAhead, Mode
from apps.tenants.operations import attach_clock, detach_clock
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant

pytestmark = pytest.mark.django_db


def test_a_tenant_leaves_its_clock_and_may_have_another() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant, attach=True)
    assert detach_clock(tenant.id, actor=ACTOR, at=AT).test_clock is None
    assert detach_clock(tenant.id, actor=ACTOR, at=AT).test_clock is None
    assert (
        AuditEvent.objects.filter(type="test_clock.detached", object_id=clock.public_id).count()
        == 1
    )
    other = make_clock(tenant)
    assert attach_clock(tenant.id, other.id, actor=ACTOR, at=AT).test_clock == other


def test_real_time_must_have_come_to_where_the_clock_stands() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT + timedelta(seconds=1), attach=True)
    with pytest.raises(ClockAhead):
        detach_clock(tenant.id, actor=ACTOR, at=AT)
