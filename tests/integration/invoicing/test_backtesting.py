"""Replaying the past against another version: what it finds is what billing would have billed."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.catalog.domain import CouponDuration, InUse
from apps.catalog.models import PlanVersion
from apps.catalog.operations.plans import delete_plan, replace_draft
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.states import IllegalTransition
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.invoicing import gathering
from apps.invoicing.domain import BacktestInvalid, BacktestOutcome, BacktestStatus, InvoiceStatus
from apps.invoicing.models import Backtest, BacktestCustomer, InvoiceLine
from apps.invoicing.operations import backtesting
from apps.invoicing.operations.backtesting import cancel_backtest, continue_backtest
from apps.invoicing.operations.billing import bill_customer, close_due
from apps.subscriptions.domain import Behaviour, CancelMode, ChangeVerb, Settlement, Wish
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription, change_subscription
from apps.subscriptions.operations.contracting import WantedCommitment, WantedPrice
from apps.tenants.domain import BoundsApplied, Mode
from apps.tenants.models import Tenant
from tests.make.backtests import begin, work_off
from tests.make.catalog import BASE_FEE, make_plan, make_version, plan_document
from tests.make.contracts import make_contract
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.metering import make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_clock, make_tenant

pytestmark = pytest.mark.django_db

JANUARY: Final = datetime(2026, 1, 1, tzinfo=UTC)
APRIL: Final = datetime(2026, 4, 1, tzinfo=UTC)
MAY: Final = datetime(2026, 5, 1, tzinfo=UTC)
NOW: Final = datetime(2026, 5, 9, 15, 30, tzinfo=UTC)
DAY: Final = timedelta(days=1)
PERIODS: Final = 3


def terms(base: str, seat: str, calls: str, minimum: str, cap: str) -> list[dict[str, Any]]:
    """Return a plan of everything: ahead and in arrears, for quantity and usage, bounded."""
    tiers = [
        {"up_to": "100", "unit_price": calls, "flat_fee": "1.00"},
        {"up_to": None, "unit_price": "0.013"},
    ]
    return [
        {**BASE_FEE, "pricing": {"model": "flat", "amount": base}},
        {"key": "seats", "name": "Seats", "pricing": {"model": "per_unit", "unit_price": seat}},
        {
            "key": "support",
            "name": "Support",
            "timing": "arrears",
            "pricing": {"model": "flat", "amount": "9.99"},
        },
        {
            "key": "calls",
            "name": "Calls",
            "meter": "calls",
            "included_quantity": "20",
            "minimum": minimum,
            "pricing": {"model": "graduated", "tiers": tiers},
        },
        {
            "key": "peak",
            "name": "Peak",
            "meter": "peak",
            "maximum": cap,
            "pricing": {"model": "per_unit", "unit_price": "0.07"},
        },
    ]


OLD: Final = terms("49.00", "10.00", "0.10", "12.00", "9.00")
NEW: Final = terms("59.00", "8.50", "0.05", "15.00", "11.11")


class World:
    """A few customers who do whatever chance tells them; all of it is billed on the way."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 -- a history, not a secret
        self.tenant = make_tenant()
        self.tenant.bounds_applied = self.chance.choice(list(BoundsApplied))
        self.tenant.save()
        make_meter(self.tenant, key="calls", at=JANUARY)
        make_meter(self.tenant, key="peak", at=JANUARY, aggregation="max")
        self.version = make_plan(self.tenant, OLD, key="plan", at=JANUARY)
        self.subscriptions = [self.subscribe() for _ in range(4)]
        for one in self.subscriptions:
            self.use(one)
            self.agree(one)
        close_due(self.some_time(APRIL), actor=ACTOR)
        for one in self.subscriptions:
            self.change(one)
        self.bill()

    def bill(self) -> None:
        """Bill all that is due, and what changed since without waiting for the next bill."""
        close_due(NOW, actor=ACTOR)
        for one in self.subscriptions:
            bill_customer(
                one.customer_id,
                tenant_id=self.tenant.id,
                request_id=new_id(),
                cutoff=NOW,
                issue=True,
                actor=ACTOR,
                at=NOW,
            )

    def some_time(self, start: datetime, days: int = 35) -> datetime:
        return start + timedelta(seconds=self.chance.randrange(days * 86400))

    def subscribe(self) -> Subscription:
        zone = self.chance.choice(["UTC", "America/New_York", "Australia/Sydney"])
        customer = make_customer(self.tenant, zone=zone)
        return make_subscription(
            customer,
            self.version,
            at=self.some_time(JANUARY, 30),
            quantity=Decimal(self.chance.randint(1, 9)),
        )

    def use(self, one: Subscription) -> None:
        events = [
            {
                "meter": self.chance.choice(["calls", "calls", "peak"]),
                "subscription": one.public_id,
                "timestamp": self.some_time(JANUARY, 120).isoformat(),
                "value": str(self.chance.randint(1, 90)),
            }
            for _ in range(20)
        ]
        send(self.tenant, events, at=NOW)

    def agree(self, one: Subscription) -> None:
        at = one.started_at
        if self.chance.random() < 0.5:
            off: dict[str, Any] = self.chance.choice([{"percentage": "12.5"}, {"amount": "30.00"}])
            length: dict[str, Any] = self.chance.choice(
                [
                    {"duration": CouponDuration.ONCE},
                    {"duration": CouponDuration.PERIODS, "periods": 2},
                    {"duration": CouponDuration.FOREVER},
                ]
            )
            redeem(one, make_coupon(self.tenant, at=at, **off, **length), at=at)
        if self.chance.random() < 0.5:
            price = WantedPrice("calls", {"model": "per_unit", "unit_price": "0.09"})
            make_contract(
                one,
                at=at,
                prices=self.chance.choice([[], [price]]),
                commitment=WantedCommitment(
                    Decimal("120.00"), overage_factor=self.chance.choice([Decimal(1), Decimal(2)])
                ),
            )

    def change(self, one: Subscription) -> None:
        now = self.some_time(APRIL)
        for _ in range(self.chance.randint(0, 3)):
            wish = Wish(
                ChangeVerb.CHANGE_QUANTITY,
                effective_at=max(self.some_time(JANUARY, 95), one.started_at),
                behaviour=self.chance.choice(
                    [Behaviour.PRORATE, Behaviour.NONE, Behaviour.FULL_CREDIT]
                ),
                quantity=Decimal(self.chance.randint(1, 900)),
            )
            now += timedelta(seconds=1)
            change_subscription(one.pk, wish, change_id=new_id(), actor=ACTOR, at=now)
        if self.chance.random() < 0.4:
            cancel_subscription(
                one.pk,
                mode=CancelMode.DATE,
                ends_at=self.some_time(one.started_at + DAY, 60),
                settlement=self.chance.choice(list(Settlement)),
                actor=ACTOR,
                at=now + DAY,
            )

    def billed(self, backtest: Backtest) -> dict[UUID, Decimal]:
        """Return the net of the lines of each customer's periods, as documents have them."""
        amounts = {}
        for found in backtest.found.exclude(since=None):
            amounts[found.customer_id] = Decimal(0)
            for line in InvoiceLine.objects.filter(invoice__customer=found.customer_id).exclude(
                invoice__status=InvoiceStatus.CANCELED
            ):
                assert found.since is not None
                assert found.until is not None
                ahead = line.kind in ("recurring", "discount") and self.is_ahead(line)
                is_in = (
                    found.since <= line.service_start < found.until
                    if ahead
                    else found.since < line.service_end <= found.until
                )
                amounts[found.customer_id] += line.amount if is_in else 0
        return amounts

    @staticmethod
    def is_ahead(line: InvoiceLine) -> bool:
        return any(word in line.description for word in ("Base", "Seats"))


def found(backtest: Backtest) -> Mapping[UUID, BacktestCustomer]:
    return {one.customer_id: one for one in backtest.found.all()}


@pytest.mark.parametrize("seed", range(12))
def test_a_version_with_the_same_terms_makes_no_difference_to_anybody(seed: int) -> None:
    world = World(seed)
    again = make_version(world.version, OLD, at=NOW, publish=False)
    for version in (world.version, again):
        backtest = work_off(begin(version, NOW, periods=PERIODS), NOW)
        assert (backtest.status, backtest.done, backtest.customers) == ("done", 4, 4)
        told = found(backtest)
        assert {one.delta for one in told.values() if one.since} <= {Decimal(0)}
        assert {one.reason for one in told.values()} == {""}
        billed = {one.customer_id: one.billed for one in told.values() if one.since}
        assert billed == world.billed(backtest)


@pytest.mark.parametrize("seed", range(100, 108))
def test_what_it_finds_is_what_a_migration_at_the_start_would_have_billed(seed: int) -> None:
    world = World(seed)
    new = make_version(world.version, NEW, at=NOW)
    backtest = work_off(begin(new, NOW, periods=PERIODS, instead_of=world.version), NOW)
    alive = [
        one for one in world.subscriptions if Subscription.objects.get(pk=one.pk).status != "ended"
    ]
    for one in alive:
        wish = Wish(
            ChangeVerb.CHANGE_PLAN,
            effective_at=one.started_at,
            behaviour=Behaviour.PRORATE,
            plan_version_id=new.pk,
        )
        change_subscription(one.pk, wish, change_id=new_id(), actor=ACTOR, at=NOW)
    world.bill()
    billed = world.billed(backtest)
    told = found(backtest)
    assert {one.customer_id: billed[one.customer_id] for one in alive} == {
        one.customer_id: told[one.customer_id].would_be_billed for one in alive
    }
    assert any(told[one.customer_id].delta for one in alive)


# --- a shop with one charge ----------------------------------------------------------------------


def seats(price: str) -> list[dict[str, Any]]:
    return [
        {"key": "seats", "name": "Seats", "pricing": {"model": "per_unit", "unit_price": price}}
    ]


def shop(*quantities: int, key: str = "plan") -> PlanVersion:
    """Return version 1 of a plan of 10.00 a seat, with a customer for each number of seats."""
    version = make_plan(make_tenant(), seats("10.00"), key=key, at=JANUARY)
    for number, quantity in enumerate(quantities):
        customer = make_customer(version.plan.tenant, external_id=f"c{number}")
        make_subscription(customer, version, at=JANUARY, quantity=Decimal(quantity))
    return version


def told(backtest: Backtest) -> list[tuple[str | None, str, Decimal | None, Decimal | None]]:
    rows = backtest.found.select_related("customer").order_by("customer__external_id")
    return [(one.customer.external_id, one.outcome, one.billed, one.delta) for one in rows]


def volume(first: str, then: str) -> list[dict[str, Any]]:
    tiers = [{"up_to": "5", "unit_price": first}, {"up_to": None, "unit_price": then}]
    pricing = {"model": "volume", "tiers": tiers}
    return [{"key": "seats", "name": "Seats", "pricing": pricing}]


def test_who_would_pay_less_and_who_more() -> None:
    version = shop(2, 5, 10)
    draft = make_version(version, volume("12.00", "9.00"), publish=False)
    backtest = work_off(begin(draft, NOW, periods=4), NOW)
    assert told(backtest) == [
        ("c0", "loser", Decimal(80), Decimal(16)),
        ("c1", "loser", Decimal(200), Decimal(40)),
        ("c2", "winner", Decimal(400), Decimal(-40)),
    ]
    assert {(one.since, one.until, one.subscriptions) for one in backtest.found.all()} == {
        (JANUARY, MAY, 1)
    }
    # nobody was billed, and the draft is one
    assert not InvoiceLine.objects.exists()
    draft.refresh_from_db()
    assert draft.status == "draft"


def test_who_cannot_be_rated_is_listed_and_stops_nobody() -> None:
    version = make_plan(
        make_tenant(),
        [{"key": "seats", "name": "Seats", "prices": [
            {"currency": "USD", "pricing": {"model": "per_unit", "unit_price": "10.00"}},
            {"currency": "EUR", "pricing": {"model": "per_unit", "unit_price": "9.00"}},
        ]}],
        currency=None, key="plan", at=JANUARY,
    )  # fmt: skip
    for number, currency in enumerate(("USD", "EUR", "USD")):
        customer = make_customer(version.plan.tenant, external_id=f"c{number}", currency=currency)
        make_subscription(customer, version, at=JANUARY)
    draft = make_version(version, seats("11.00"), publish=False)
    backtest = work_off(begin(draft, NOW), NOW)
    assert told(backtest) == [
        ("c0", "loser", Decimal(10), Decimal(1)),
        ("c1", "failed", None, None),
        ("c2", "loser", Decimal(10), Decimal(1)),
    ]
    (failed,) = backtest.found.filter(outcome=BacktestOutcome.FAILED)
    assert failed.reason == "price_missing: The charge seats has no price in EUR."
    assert (backtest.status, backtest.done) == ("done", 3)


def test_a_chunk_that_breaks_is_done_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    version = shop(1, 2, 3)
    whole = gathering.expect_both
    victim = Customer.objects.get(external_id="c1").pk

    def break_for_one(tenant: Tenant, actual: Mapping[UUID, Any], *given: Any, **more: Any) -> Any:
        if victim in actual:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1/0")
        return whole(tenant, actual, *given, **more)

    monkeypatch.setattr(backtesting, "expect_both", break_for_one)
    backtest = work_off(begin(make_version(version, seats("20.00")), NOW), NOW)
    assert [one[:2] for one in told(backtest)] == [
        ("c0", "loser"), ("c1", "failed"), ("c2", "loser"),
    ]  # fmt: skip
    (failed,) = backtest.found.filter(outcome=BacktestOutcome.FAILED)
    assert failed.reason.startswith("DataError: division by zero")


def test_only_those_on_one_version_or_those_who_are_named() -> None:
    version = shop(1, 1, 1)
    second = make_version(version, seats("11.00"), at=APRIL)
    customer = Customer.objects.get(external_id="c1")
    move = Wish(ChangeVerb.CHANGE_PLAN, plan_version_id=second.pk)
    subscription = Subscription.objects.get(customer=customer)
    change_subscription(subscription.pk, move, change_id=new_id(), actor=ACTOR, at=APRIL)
    draft = make_version(version, seats("20.00"), at=MAY, publish=False)
    # c1 has left the first version before the one period that is looked at
    first = work_off(begin(draft, NOW, instead_of=version), NOW)
    assert [one[:2] for one in told(first)] == [
        ("c0", "loser"), ("c1", "skipped"), ("c2", "loser"),
    ]  # fmt: skip
    # over two periods, he had it in one of them
    both = work_off(begin(draft, NOW, instead_of=version, periods=2), NOW)
    assert told(both)[1] == ("c1", "loser", Decimal(21), Decimal(10))
    named = work_off(begin(draft, NOW, customers=[customer.pk]), NOW)
    assert told(named) == [("c1", "loser", Decimal(11), Decimal(9))]


def test_another_plan_in_place_of_theirs() -> None:
    version = shop(3)
    other = make_plan(version.plan.tenant, seats("7.00"), key="other", publish=False)
    backtest = begin(other, NOW, instead_of=version)
    assert told(work_off(backtest, NOW)) == [("c0", "winner", Decimal(30), Decimal(-9))]


def test_who_left_long_ago_or_has_not_begun_is_not_counted() -> None:
    version = shop(1, 1, 1)
    gone, leaving = (Subscription.objects.get(customer__external_id=f"c{n}") for n in (0, 1))
    for one, ends_at in ((gone, JANUARY + 10 * DAY), (leaving, APRIL + 15 * DAY)):
        cancel_subscription(
            one.pk, mode=CancelMode.DATE, ends_at=ends_at, actor=ACTOR, at=APRIL + 20 * DAY
        )
    late = make_customer(version.plan.tenant, external_id="c3")
    make_subscription(late, version, at=MAY)
    backtest = work_off(begin(make_version(version, seats("20.00")), NOW, periods=2), NOW)
    assert told(backtest) == [
        ("c0", "skipped", None, None),
        ("c1", "loser", Decimal(15), Decimal(15)),
        ("c2", "loser", Decimal(20), Decimal(20)),
        ("c3", "skipped", None, None),
    ]


def test_usage_of_the_customer_alone_goes_where_the_version_claims_it() -> None:
    """Calls that name only the customer are the older subscription's, until it has no price."""
    tenant = make_tenant()
    make_meter(tenant, key="calls", at=JANUARY)
    calls = {
        "key": "calls",
        "name": "Calls",
        "meter": "calls",
        "pricing": {"model": "per_unit", "unit_price": "1.00"},
    }
    dearer = {**calls, "pricing": {"model": "per_unit", "unit_price": "3.00"}}
    version = make_plan(tenant, [*seats("10.00"), calls], key="plan", at=JANUARY)
    other = make_plan(tenant, [dearer], key="other", at=JANUARY)
    customer = make_customer(tenant, external_id="c0")
    make_subscription(customer, version, at=JANUARY)
    make_subscription(customer, other, at=JANUARY + timedelta(seconds=1))
    event = {"meter": "calls", "customer": "c0", "timestamp": APRIL.isoformat(), "value": "5"}
    send(tenant, [event], at=NOW)
    draft = make_version(version, seats("10.00"), publish=False)
    backtest = work_off(begin(draft, NOW, periods=2), NOW)
    # 5 × 1.00 and two months of a seat; then nothing for calls here, and 5 × 3.00 there
    assert told(backtest) == [("c0", "loser", Decimal(25), Decimal(10))]
    assert backtest.found.get().subscriptions == 2


def test_a_draft_that_is_replaced_meanwhile_fails_it() -> None:
    version = shop(1)
    draft = make_version(version, seats("20.00"), publish=False)
    backtest = begin(draft, NOW)
    again = plan_document(seats("30.00"), publish=False)
    del again["key"], again["name"]
    replace_draft(draft.pk, document=again, actor=ACTOR, at=NOW)
    work_off(backtest, NOW)
    assert (backtest.status, backtest.reason, backtest.done) == (
        "failed",
        "The draft was replaced while it was tested.",
        0,
    )


def test_it_goes_on_chunk_by_chunk_and_a_repeat_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backtesting, "CHUNK", 2)
    version = shop(1, 2, 3, 4, 5)
    backtest = begin(make_version(version, seats("20.00")), NOW)
    seen = []
    for _ in range(5):
        continue_backtest(backtest.pk, actor=ACTOR, at=NOW)
        backtest.refresh_from_db()
        seen.append((backtest.done, backtest.status))
    assert seen == [
        (2, "running"), (4, "running"), (5, "done"), (5, "done"), (5, "done"),
    ]  # fmt: skip
    assert sum(one.delta or 0 for one in backtest.found.all()) == 150
    types = AuditEvent.objects.filter(object_id=backtest.public_id).order_by("id")
    assert list(types.values_list("type", flat=True)) == [
        "backtest.begun",
        "backtest.progressed",
        "backtest.progressed",
        "backtest.done",
    ]


def test_canceling_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtesting, "CHUNK", 2)
    version = shop(1, 2, 3)
    backtest = begin(make_version(version, seats("20.00")), NOW)
    continue_backtest(backtest.pk, actor=ACTOR, at=NOW)
    for _ in range(2):
        cancel_backtest(backtest.pk, tenant_id=backtest.tenant_id, actor=ACTOR, at=NOW)
    continue_backtest(backtest.pk, actor=ACTOR, at=NOW)
    backtest.refresh_from_db()
    assert (backtest.status, backtest.done) == ("canceled", 2)
    assert backtest.found.filter(outcome=BacktestOutcome.PENDING).count() == 1
    canceled = AuditEvent.objects.filter(
        object_id=backtest.public_id, type=f"backtest.{BacktestStatus.CANCELED}"
    )
    assert canceled.count() == 1

    done = work_off(begin(version, NOW), NOW)
    with pytest.raises(IllegalTransition):
        cancel_backtest(done.pk, tenant_id=done.tenant_id, actor=ACTOR, at=NOW)


def test_what_cannot_be_tested_is_refused() -> None:
    version = shop(1)
    stranger = make_customer(version.plan.tenant)
    other = make_plan(version.plan.tenant, seats("1.00"), key="other")
    with pytest.raises(BacktestInvalid, match=f"never had plan: {stranger.public_id}"):
        begin(version, NOW, customers=[stranger.pk])
    with pytest.raises(BacktestInvalid, match="nobody ever had other"):
        begin(other, NOW)
    for periods in (0, 25):
        with pytest.raises(BacktestInvalid, match="1 to 24 periods"):
            begin(version, NOW, periods=periods)


def test_a_repeat_with_the_same_id_is_the_same() -> None:
    version = shop(1)
    trial = backtesting.Trial(version.pk, from_plan_id=version.plan_id, periods=1)
    given: dict[str, Any] = {"id": new_id(), "actor": ACTOR, "at": NOW}
    first = backtesting.begin_backtest(version.tenant_id, trial, **given)
    assert backtesting.begin_backtest(version.tenant_id, trial, **given) == first
    assert BacktestCustomer.objects.count() == 1


def test_the_queries_of_a_chunk_do_not_grow_with_its_customers() -> None:
    counts = []
    for quantities in ((1, 2), (1, 2, 3, 4, 5, 6)):
        version = shop(*quantities)
        with tenant_scope(version.tenant_id):
            backtest = begin(make_version(version, seats("20.00"), publish=False), NOW)
            with CaptureQueriesContext(connection) as captured:
                continue_backtest(backtest.pk, actor=ACTOR, at=NOW)
            counts.append(len(captured))
    assert counts == [22, 22]


def test_who_is_asked_is_read_one_table_after_the_other() -> None:
    """Joined, 2,000 customers took minutes in tables without statistics."""
    counts = []
    for quantities in ((1, 2), (1, 2, 3, 4, 5, 6)):
        version = shop(*quantities)
        draft = make_version(version, seats("20.00"), publish=False)
        with tenant_scope(version.tenant_id), CaptureQueriesContext(connection) as captured:
            begin(draft, NOW)
        reading = [one["sql"] for one in captured if one["sql"].startswith("SELECT")]
        assert [one for one in reading if '"customers_customer"' in one and "JOIN" in one] == []
        assert [one for one in reading if '"subscriptions_' in one and "JOIN" in one] == []
        counts.append(len(captured))
    assert counts == [16, 16]


def test_a_plan_that_was_tested_is_not_deleted_and_the_refusal_says_why() -> None:
    version = shop(1)
    draft = make_plan(version.plan.tenant, seats("7.00"), key="other", publish=False)
    begin(draft, NOW, instead_of=version)
    with (
        tenant_scope(version.tenant_id),
        pytest.raises(InUse, match=r"other is used by backtests; archive it instead\.$"),
    ):
        delete_plan(draft.plan_id, actor=ACTOR, at=NOW)


def test_it_is_as_late_for_each_as_his_clock_says_or_his_tenants() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    version = make_plan(tenant, seats("10.00"), key="plan", at=JANUARY)
    own = make_customer(tenant, external_id="c0", test_clock_id=make_clock(tenant, at=APRIL).pk)
    other = make_customer(tenant, external_id="c1")
    for customer in (own, other):
        make_subscription(customer, version, at=JANUARY)
    real = begin(version, NOW)
    assert {one.customer_id: one.as_of for one in real.found.all()} == {
        own.pk: APRIL, other.pk: NOW,
    }  # fmt: skip
    make_clock(tenant, at=MAY, attach=True)
    clocked = begin(version, NOW)
    assert {one.customer_id: one.as_of for one in clocked.found.all()} == {
        own.pk: APRIL, other.pk: MAY,
    }  # fmt: skip
