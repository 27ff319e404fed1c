"""Moving many subscriptions to another version of their plan, and back."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.metering.models import UsageSubject
from apps.subscriptions.invariants import RULES
from apps.subscriptions.models import (
    PlanMigration,
    PlanMigrationMember,
    ScheduledChange,
    Subscription,
    SubscriptionSegment,
)
from apps.subscriptions.operations import apply_due_changes
from apps.subscriptions.operations.migrating import continue_migration
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.catalog import make_plan, make_version
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_clock, make_key, make_tenant

pytestmark = pytest.mark.django_db

MEMBERS: Final = 1000


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def seats(price: str) -> dict[str, Any]:
    return {"key": "seats", "pricing": {"model": "per_unit", "unit_price": price}}


def shop(members: int = 3) -> Api:
    """Return the API of a tenant with subscriptions ``s0``… on version 1 of a plan that has two."""
    with time_machine.travel(on(1, 1), tick=False):
        tenant = make_tenant()
        version = make_plan(tenant, [seats("31.00")], key="plan", at=on(1, 1))
        customer = make_customer(tenant, external_id="c0", zone="UTC", email="")
        make_subscription(customer, version, at=on(1, 1), external_id="s0")
        multiply(tenant, members)
        make_version(version, [seats("62.00")], at=on(1, 1))
    return Api(make_key(tenant))


def multiply(tenant: Tenant, members: int) -> None:
    """Give the tenant more customers like the first, each with such a subscription."""
    fresh: dict[Any, list[Any]] = {}
    for number in range(1, members):
        customer = Customer.objects.get(external_id="c0") if number == 1 else fresh[Customer][0]
        made = clone(customer, external_id=f"c{number}")
        fresh.setdefault(Customer, [customer]).append(made)
        first = (
            Subscription.objects.get(external_id="s0") if number == 1 else fresh[Subscription][0]
        )
        subscription = clone(first, external_id=f"s{number}", customer_id=made.pk)
        fresh.setdefault(Subscription, [first]).append(subscription)
        segment = first.segments.get() if number == 1 else fresh[SubscriptionSegment][0]
        fresh.setdefault(SubscriptionSegment, [segment]).append(
            clone(segment, subscription_id=subscription.pk)
        )
        subject = UsageSubject.objects.get(pk=first.pk) if number == 1 else fresh[UsageSubject][0]
        fresh.setdefault(UsageSubject, [subject]).append(
            clone(
                subject,
                pk=subscription.pk,
                customer_id=made.pk,
                external_id=subscription.external_id,
            )
        )
    for model, rows in fresh.items():
        model.objects.bulk_create(rows[1:])


def clone(row: Any, pk: Any = None, **values: Any) -> Any:
    columns = {one.attname: getattr(row, one.attname) for one in row._meta.concrete_fields}
    return type(row)(**{**columns, row._meta.pk.attname: pk or new_id(), **values})


def close(when: datetime) -> Decimal:
    """Do what is due by then, and return what the documents of this run come to."""
    before = set(Invoice.objects.values_list("id", flat=True))
    apply_due_changes(when)
    close_due(when, actor=ACTOR)
    assert [line for rule in RULES for line in rule(None)] == []
    made = Invoice.objects.exclude(id__in=before)
    return sum((one.total.amount for one in made), Decimal(0))


def begin(api: Api, when: datetime, path: str = "", **body: Any) -> Any:
    with time_machine.travel(when, tick=False):
        given = {"plan": "plan", "from_version": 1, **body}
        return api.post(f"/plan-migrations{path}", given)


def work() -> None:
    """Run the jobs that wait."""
    tenant = Tenant.objects.get(pk=PlanMigration.objects.get().tenant_id)
    run_due(tenant_id=tenant.id)


def versions() -> list[int]:
    rows = Subscription.objects.order_by("external_id")
    return list(rows.values_list("plan_version__number", flat=True))


def test_a_cohort_is_moved_batch_by_batch_and_billed_by_its_difference() -> None:
    api = shop()
    assert close(on(1, 1)) == 93

    begun = begin(api, on(1, 11), batch_size=2)
    assert begun.status_code == 201, begun.json()
    assert (begun.json()["status"], begun.json()["pending"]) == ("running", 3)
    work()

    done = api.get(f"/plan-migrations/{begun.json()['id']}").json()
    assert (done["status"], done["pending"], done["migrated"]) == ("done", 0, 3)
    assert versions() == [2, 2, 2]
    members = api.get(f"/plan-migrations/{done['id']}/members").json()["data"]
    assert {one["outcome"] for one in members} == {"migrated"}
    # 21 of 31 days at 31 more, and February
    assert close(on(2, 1)) == 3 * (21 + 62)


def test_a_preview_tells_what_it_costs_whom_and_stores_nothing() -> None:
    api = shop()
    close(on(1, 1))
    told = begin(api, on(1, 11), "?preview=true").json()
    assert told["refused"] == []
    assert {
        one["external_id"]: (one["difference"], one["otherwise"]) for one in told["subscriptions"]
    } == {f"s{number}": ("21.00", "0.00") for number in range(3)}
    table = begin(api, on(1, 11), "?preview=csv")
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    head, *rows = table.content.decode().splitlines()
    assert head == "subscription,external_id,customer,currency,total,otherwise,difference,refused"
    assert min(row.split(",")[1:2] + row.split(",")[3:] for row in rows) == [
        "s0", "USD", "21", "0", "21", "",
    ]  # fmt: skip
    assert PlanMigration.objects.count() == 0
    assert versions() == [1, 1, 1]


def test_what_is_rolled_back_before_it_is_billed_costs_nothing() -> None:
    api = shop()
    close(on(1, 1))
    begun = begin(api, on(1, 11)).json()
    work()
    with time_machine.travel(on(1, 12), tick=False):
        back = api.post(f"/plan-migrations/{begun['id']}/roll-back").json()
    assert back["status"] == "rolling_back"
    work()
    gone = api.get(f"/plan-migrations/{begun['id']}").json()
    assert (gone["status"], gone["rolled_back"], gone["migrated"]) == ("rolled_back", 3, 0)
    assert versions() == [1, 1, 1]
    assert [one.ends_at for one in SubscriptionSegment.objects.all()] == [None, None, None]
    assert close(on(2, 1)) == 93


def test_what_was_billed_is_credited_when_it_is_rolled_back() -> None:
    api = shop()
    close(on(1, 1))
    begun = begin(api, on(1, 11), behaviour="invoice_now").json()
    work()
    assert close(on(1, 11)) == 63
    with time_machine.travel(on(1, 21), tick=False):
        api.post(f"/plan-migrations/{begun['id']}/roll-back")
        again = api.post(f"/plan-migrations/{begun['id']}/roll-back")
        assert again.status_code == 200
    work()
    assert close(on(2, 1)) == 93 - 63


def test_those_who_cannot_be_moved_stay_with_the_reason() -> None:
    api = shop()
    close(on(1, 1))
    begun = begin(api, on(1, 11), effective_at="2026-02-01T00:00:00Z").json()
    with time_machine.travel(on(1, 12), tick=False):
        api.post("/subscriptions/s1/cancel", {"mode": "now"})
    work()
    shown = api.get(f"/plan-migrations/{begun['id']}").json()
    assert (shown["migrated"], shown["refused"]) == (2, 1)
    refused = PlanMigrationMember.objects.get(outcome="refused")
    assert refused.reason == "It has ended by then."
    # the others wait for the instant
    assert versions() == [1, 1, 1]
    assert close(on(2, 1)) == 2 * 62 + Decimal("-20.00")
    assert versions() == [2, 1, 2]


def test_a_change_that_was_made_since_stays() -> None:
    api = shop(1)
    close(on(1, 1))
    begun = begin(api, on(1, 11)).json()
    work()
    with time_machine.travel(on(1, 21), tick=False):
        api.post("/subscriptions/s0/changes", {"verb": "change_quantity", "quantity": "2"})
        api.post(f"/plan-migrations/{begun['id']}/roll-back")
    work()
    row = Subscription.objects.get()
    assert (row.plan_version.number, str(row.quantity.normalize())) == (1, "2")
    assert close(on(2, 1)) == 11 + 62


def test_each_is_moved_by_the_clock_of_its_customer() -> None:
    with time_machine.travel(on(1, 1), tick=False):
        tenant = make_tenant(mode=Mode.TEST)
        version = make_plan(tenant, [seats("31.00")], key="plan", at=on(1, 1))
        # in real time it is 11 January; on the clocks 5 January and 21 March
        clocks = {"s0": None, "s1": make_clock(tenant, at=on(1, 5)), "s2": None}
        clocks["s2"] = make_clock(tenant, at=on(3, 21))
        for name, clock in clocks.items():
            customer = make_customer(tenant, zone="UTC", email="")
            Customer.objects.filter(pk=customer.pk).update(test_clock=clock)
            make_subscription(customer, version, at=on(1, 1), external_id=name)
        make_version(version, [seats("62.00")], at=on(1, 1))
    api = Api(make_key(tenant))
    close_due(on(1, 1), actor=ACTOR)

    told = begin(api, on(1, 11), "?preview=true").json()["subscriptions"]
    # of the month that has begun 21 of 31 days, 27 of 31, and 11 of 31 at 31 more
    assert {one["external_id"]: one["difference"] for one in told} == {
        "s0": "21.00",
        "s1": "27.00",
        "s2": "11.00",
    }
    begun = begin(api, on(1, 11), batch_size=2).json()
    work()

    members = api.get(f"/plan-migrations/{begun['id']}/members").json()["data"]
    assert sorted(one["effective_at"] for one in members) == [
        "2026-01-05T00:00:00Z",
        "2026-01-11T00:00:00Z",
        "2026-03-21T00:00:00Z",
    ]
    assert versions() == [2, 2, 2]
    ends = SubscriptionSegment.objects.filter(ends_at__isnull=False)
    assert dict(ends.values_list("subscription__external_id", "ends_at")) == {
        "s0": on(1, 11),
        "s1": on(1, 5),
        "s2": on(3, 21),
    }
    noted = ScheduledChange.objects.values_list("subscription__external_id", "created_at")
    assert dict(noted) == {"s0": on(1, 11), "s1": on(1, 5), "s2": on(3, 21)}


def test_an_instant_that_is_named_may_lie_ahead_on_one_clock_and_behind_on_another() -> None:
    with time_machine.travel(on(1, 1), tick=False):
        tenant = make_tenant(mode=Mode.TEST)
        version = make_plan(tenant, [seats("31.00")], key="plan", at=on(1, 1))
        for name, shows in (("s0", on(1, 5)), ("s1", on(3, 1))):
            customer = make_customer(tenant, zone="UTC", email="")
            clock = make_clock(tenant, at=shows)
            Customer.objects.filter(pk=customer.pk).update(test_clock=clock)
            make_subscription(customer, version, at=on(1, 1), external_id=name)
        make_version(version, [seats("62.00")], at=on(1, 1))
    api = Api(make_key(tenant))

    begun = begin(api, on(1, 11), effective_at="2026-02-01T00:00:00Z").json()
    work()
    assert versions() == [1, 2]

    with time_machine.travel(on(1, 12), tick=False):
        api.post(f"/plan-migrations/{begun['id']}/roll-back")
    work()
    assert versions() == [1, 1]
    statuses = ScheduledChange.objects.values_list("subscription__external_id", "status")
    assert dict(statuses) == {"s0": "withdrawn", "s1": "undone"}


@pytest.mark.parametrize(
    ("body", "status", "reason", "field"),
    [
        ({"plan": "nothing"}, 404, "not_found", None),
        ({"from_version": 7}, 404, "not_found", None),
        ({"to_version": 7}, 409, "plan_not_on_sale", None),
        ({"to_version": 1}, 422, "subscription_invalid", "to_version"),
        ({"from_version": 2, "to_version": 1}, 422, "subscription_invalid", "from_version"),
        ({"subscriptions": ["nobody"]}, 404, "not_found", None),
        ({"subscriptions": []}, 400, "empty", "subscriptions"),
        ({"batch_size": 0}, 400, "min_value", "batch_size"),
        ({"batch_size": 1001}, 400, "max_value", "batch_size"),
        ({"behaviour": "next_period"}, 400, "invalid_choice", "behaviour"),
        ({"from_version": None}, 400, "null", "from_version"),
    ],
)
def test_migrations_that_cannot_be_are_refused(
    body: dict[str, Any], status: int, reason: str, field: str | None
) -> None:
    api = shop(1)
    refused = begin(api, on(1, 11), **body)
    problem = refused.json()
    assert refused.status_code == status, problem
    if field is None:
        assert problem["reason"] == reason
    else:
        assert field in [one["field"].partition("[")[0] for one in problem["errors"]]
    assert PlanMigration.objects.count() == 0


def test_a_repeated_request_begins_one_migration() -> None:
    api = shop(1)
    given = {"plan": "plan", "from_version": 1}
    first = api.post("/plan-migrations", given, key="once")
    assert api.post("/plan-migrations", given, key="once").json() == first.json()
    assert PlanMigration.objects.count() == 1


def queries_of_a_batch(members: int) -> tuple[int, int]:
    """Return how many statements it takes to move so many, and to move them back."""
    api = shop(members)
    begun = begin(api, on(1, 11), batch_size=MEMBERS).json()
    assert (begun["status"], begun["pending"]) == ("running", members)
    path = f"/plan-migrations/{begun['id']}"
    migration = PlanMigration.objects.get()
    counted = []
    for outcome in ("migrated", "rolled_back"):
        with CaptureQueriesContext(connection) as seen:
            continue_migration(migration.pk, actor=ACTOR)
        counted.append(len(seen))
        assert api.get(path).json()[outcome] == members
        with time_machine.travel(on(1, 12), tick=False):
            assert api.post(f"{path}/roll-back").status_code == 200
    assert versions() == [1] * members
    return counted[0], counted[1]


def test_a_thousand_are_moved_in_as_many_statements_as_one() -> None:
    there, back = queries_of_a_batch(MEMBERS)
    assert (there, back) == (28, 19)
    assert close(on(2, 1)) == MEMBERS * 62
    assert PlanMigrationMember.objects.filter(outcome="rolled_back").count() == MEMBERS
