"""Races for the house itself: keys, members, clocks, requests, the audit chain."""

from datetime import timedelta
from functools import partial
from typing import Any

from apps.backoffice.models import ClockAdvance
from apps.backoffice.operations.clocks import advance_clock
from apps.core.audit import seal_events, verify_chain
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.models import AuditPending
from apps.customers.models import Customer
from apps.customers.operations import create_customer
from apps.tenants.domain import Mode, Role
from apps.tenants.models import ApiKey, Membership, TestClock
from apps.tenants.operations import create_tenant, remove_member, revoke_api_key, rotate_api_key
from tests.make.api import Api
from tests.make.neighbours import outlive_neighbours
from tests.make.races import refusals, winners
from tests.make.tenants import ACTOR, AT, make_clock, make_key, make_member, make_tenant
from tests.races.course import Race

ACT: dict[str, Any] = {"actor": ACTOR, "at": AT}
NAMES = iter(range(10_000))


def request_by_itself() -> Race:
    tenant = make_tenant()
    api_key = make_key(tenant)
    body = {"name": "Globex", "currency": "USD", "zone": "UTC"}

    def post() -> tuple[int, str]:
        answer = Api(api_key).post("/customers", body, key="once")
        return answer.status_code, answer.json().get("id", "")

    def judge(results: list[Any]) -> None:
        made = Customer.objects.get(tenant=tenant)
        assert set(results) <= {(201, made.public_id), (409, "")}
        assert (201, made.public_id) in results
        assert post() == (201, made.public_id)

    return Race([post] * 8, judge)


def revoke_by_use() -> Race:
    tenant = make_tenant()
    secret = make_key(tenant)
    key = ApiKey.objects.get(tenant=tenant)

    def read() -> int:
        return int(Api(secret).get("/customers").status_code)

    def judge(results: list[Any]) -> None:
        assert set(results[1:]) <= {200, 401}
        assert read() == 401

    return Race([lambda: revoke_api_key(key.id, **ACT), *[read] * 6], judge)


def rotate_by_rotate() -> Race:
    tenant = make_tenant()
    make_key(tenant)
    key = ApiKey.objects.get(tenant=tenant)

    def judge(results: list[Any]) -> None:
        assert (len(winners(results)), set(refusals(results))) == (1, {"api_key_not_active"})
        assert ApiKey.objects.filter(tenant=tenant).count() == 2

    return Race(
        [lambda: rotate_api_key(key.id, id=new_id(), overlap=timedelta(0), **ACT)] * 4, judge
    )


def slug_by_slug() -> Race:
    slug = f"raced-{next(NAMES)}"

    def create() -> Any:
        return create_tenant(id=new_id(), slug=slug, name="A", currency="USD", zone="UTC", **ACT)

    def judge(results: list[Any]) -> None:
        assert (len(winners(results)), refusals(results)) == (1, ["slug_taken"] * 3)

    return Race([create] * 4, judge)


def owner_by_owner() -> Race:
    """Two owners remove each other; one stays."""
    tenant = make_tenant()
    owners = [make_member(tenant), make_member(tenant)]

    def judge(results: list[Any]) -> None:
        assert (len(winners(results)), refusals(results)) == (1, ["last_owner"])
        assert Membership.objects.filter(tenant=tenant, role=Role.OWNER).count() == 1

    return Race([partial(remove_member, one.id, **ACT) for one in owners], judge)


def clock_by_clock() -> Race:
    clock = make_clock(make_tenant(mode=Mode.TEST), attach=True)
    to = AT + timedelta(days=3)

    def judge(results: list[Any]) -> None:
        assert winners(results)
        assert set(refusals(results)) <= {"clock_busy"}
        assert TestClock.objects.get(pk=clock.pk).now == to
        assert ClockAdvance.objects.filter(clock=clock).count() == 0

    return Race([lambda: advance_clock(clock.id, to=to, actor=ACTOR, wall=now)] * 4, judge)


def seal_by_write() -> Race:
    tenant = make_tenant()

    def write() -> Any:
        for _ in range(5):
            create_customer(
                tenant.id, id=new_id(), name="A", currency="USD", zone="UTC", actor=ACTOR, at=AT
            )

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        while AuditPending.objects.filter(tenant_id=tenant.id).exists():
            outlive_neighbours()
            seal_events()
        assert list(verify_chain(tenant.id)) == []

    return Race([write, write, write, seal_events, seal_events, seal_events], judge)
