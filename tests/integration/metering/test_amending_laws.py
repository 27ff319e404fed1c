"""Whatever is amended in whatever order: usage is that of the events that are left."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.errors import BillingError
from apps.core.ids import encode, new_id
from apps.core.money import plain
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.metering.domain import (
    AmendmentOverlaid,
    AmendmentUndone,
    Backfilling,
    EventChange,
    EventSelection,
    MeasuredUsage,
    Replacing,
    Undoing,
    UsageRequest,
    UsageSpan,
    Voiding,
)
from apps.metering.invariants import rollups_equal_events
from apps.metering.operations import amend_events
from apps.metering.queries import latest_version, measure, measure_as_of, meter_terms
from apps.rating.aggregation import Aggregation
from apps.rating.filters import Filter, Operator, matches
from apps.rating.pricing import Need
from tests.make.customers import make_customer
from tests.make.facts import (
    BANDS,
    START,
    Counter,
    Fact,
    definitions,
    facts,
    instants,
    numbers,
    questions,
    store,
    tidy,
)
from tests.make.metering import count_all, make_meter, make_subject
from tests.make.tenants import ACTOR, make_tenant

pytestmark = pytest.mark.django_db(transaction=True)

NOW = START + timedelta(days=10)
FILTERS = [
    (),
    (Filter("tier", Operator.EQ, "a"),),
    (Filter("region", Operator.EQ, Decimal(5)), Filter("tier", Operator.EXISTS, value=False)),
]


@dataclass(frozen=True)
class Where:
    """A selection as drawn: two instants and more, or places among all events."""

    ends: tuple[datetime, datetime]
    whose: int | None
    filters: tuple[Filter, ...]
    places: tuple[int, ...]


wheres = st.builds(
    Where,
    st.tuples(instants, instants).map(lambda two: (min(two), max(two))),
    st.sampled_from([None, None, 1, 2]),
    st.sampled_from(FILTERS),
    st.one_of(st.just(()), st.lists(st.integers(0, 30), min_size=1, max_size=3).map(tuple)),
)
changes = st.one_of(
    st.builds(EventChange, value=numbers.map(Decimal)),
    st.just(EventChange(factor=Decimal("-0.5"))),
    st.just(EventChange(properties={"tier": "b", "region": None})),
    st.builds(EventChange, timestamp=instants),
)
orders = st.one_of(
    st.tuples(st.just("void"), wheres),
    st.tuples(st.just("replace"), wheres, changes),
    st.tuples(st.just("backfill"), st.lists(facts, min_size=1, max_size=3)),
    st.tuples(st.just("undo"), st.integers(0, 8)),
)


@dataclass
class Known:
    """An event as the test remembers it."""

    key: str
    fact: Fact
    is_counted: bool = True


@dataclass
class House:
    """A customer, his events, and what was done to them."""

    customer: Customer
    subs: list[UUID | None]
    name: str
    known: list[Known] = field(default_factory=list)
    done: list[tuple[UUID, list[tuple[Known, bool]]]] = field(default_factory=list)
    undone: set[UUID] = field(default_factory=set)

    def send(self, batch: list[Fact]) -> None:
        keys = store(self.customer, self.subs, self.name, batch)
        self.known += [Known(key, fact) for key, fact in zip(keys, batch, strict=True)]

    def amend(self, order: tuple[Any, ...]) -> None:
        match order:
            case ("void", where):
                meant = self.meant(where)
                self.run(Voiding(self.selection(where)), lambda _: [(one, False) for one in meant])
            case ("replace", where, change):
                meant = self.meant(where)

                def replaced(amendment: UUID) -> list[tuple[Known, bool]]:
                    made = [
                        Known(f"{encode('amd', amendment)}:{place}", changed(one.fact, change))
                        for place, one in enumerate(meant)
                    ]
                    self.known += made
                    return [(one, False) for one in meant] + [(one, True) for one in made]

                self.run(Replacing(self.selection(where), change), replaced)
            case ("backfill", batch):
                keys = [new_id().hex for _ in batch]
                items = [self.item(key, one) for key, one in zip(keys, batch, strict=True)]

                def brought(_: UUID) -> list[tuple[Known, bool]]:
                    made = [Known(key, one) for key, one in zip(keys, batch, strict=True)]
                    self.known += made
                    return [(one, True) for one in made]

                self.run(Backfilling(items), brought)
            case ("undo", place) if self.done:
                amendment, effects = self.done[place % len(self.done)]
                is_overlaid = any(one.is_counted != left for one, left in effects)
                if is_overlaid or amendment in self.undone:
                    with pytest.raises((AmendmentOverlaid, AmendmentUndone)):
                        self.run(Undoing(amendment), lambda _: [])
                else:
                    self.undone.add(amendment)
                    self.run(
                        Undoing(amendment), lambda _: [(one, not left) for one, left in effects]
                    )

    def run(self, order: Any, effects: Any) -> None:
        """Amend; what is refused changes nothing."""
        amendment = new_id()
        try:
            made = amend_events(
                self.customer.tenant_id, order, id=amendment, reason="test", actor=ACTOR, at=NOW
            )
        except (AmendmentOverlaid, AmendmentUndone):
            raise
        except BillingError:
            return
        found = effects(amendment)
        for one, is_counted in found:
            one.is_counted = is_counted
        assert made.voided == sum(not left for _, left in found)
        assert made.voided + made.restored + made.added == len(found)
        self.done.append((amendment, found))

    def selection(self, where: Where) -> EventSelection:
        if where.places and self.known:
            keys = dict.fromkeys(self.known[place % len(self.known)].key for place in where.places)
            return EventSelection(keys=tuple(keys))
        return EventSelection(
            start=where.ends[0],
            end=where.ends[1],
            event_name=self.name,
            customer_id=self.customer.pk,
            subscription_id=None if where.whose is None else self.subs[where.whose],
            filters=where.filters,
        )

    def meant(self, where: Where) -> list[Known]:
        selection = self.selection(where)
        if selection.keys:
            return [one for one in self.known if one.key in selection.keys]
        return [
            one
            for one in self.known
            if one.is_counted
            and where.ends[0] <= one.fact.at < where.ends[1]
            and (where.whose is None or one.fact.whose == where.whose)
            and matches(where.filters, one.fact.properties)
        ]

    def item(self, key: str, fact: Fact) -> dict[str, Any]:
        subscription = self.subs[fact.whose]
        subject = (
            {"customer": self.customer.public_id}
            if subscription is None
            else {"subscription": encode("sub", subscription)}
        )
        return {
            "idempotency_key": key,
            "event_name": self.name,
            "timestamp": fact.at.isoformat(),
            "value": fact.value,
            "properties": fact.properties,
            **subject,
        }

    def left(self) -> list[Fact]:
        return [one.fact for one in self.known if one.is_counted]


def changed(fact: Fact, change: EventChange) -> Fact:
    value = Decimal(fact.value) if change.value is None else change.value
    if change.factor is not None:
        value *= change.factor
    laid = {**fact.properties, **change.properties}
    return replace(fact, at=change.timestamp or fact.at, value=plain(value), properties=laid)


def tidied(found: MeasuredUsage) -> dict[int, Any]:
    return {number: tidy(one) for number, one in found.by_request.items()}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    definitions(),
    st.lists(
        st.tuples(
            st.lists(facts, max_size=10), st.booleans(), st.lists(orders, max_size=3), st.booleans()
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 4),
    st.lists(questions(), min_size=1, max_size=4),
)
@pytest.mark.holds("U5", "U11")
def test_usage_is_that_of_the_events_that_are_left(
    definition: dict[str, Any],
    rounds: list[tuple[list[Fact], bool, list[tuple[Any, ...]], bool]],
    born: int,
    asked: list[tuple[int | None, tuple[UsageSpan, ...], Need]],
) -> None:
    tenant = make_tenant()
    with tenant_scope(tenant.id):
        customer, other = make_customer(tenant), make_customer(tenant)
        subs = [None, *(make_subject(customer, opens_at=START).pk for _ in range(2))]
        house = House(customer, subs, make_meter(tenant, aggregation=Aggregation.COUNT).key)
        meter, version = None, new_id()
        seen: list[tuple[str, dict[int, Any]]] = []
        requests: list[UsageRequest] = []
        for number, (batch, rolls, amended, rolls_then) in enumerate(rounds):
            if number == born or (meter is None and number == len(rounds) - 1):
                meter = make_meter(tenant, event_name=house.name, **definition)
                version = latest_version(meter.pk).pk
                requests = [
                    UsageRequest(
                        place,
                        tenant.pk,
                        customer.pk,
                        None if whose is None else subs[whose],
                        version,
                        spans,
                        need,
                        BANDS if need == Need.BANDS else None,
                    )
                    for place, (whose, spans, need) in enumerate(asked)
                ]
            house.send(batch)
            store(other, subs, house.name, batch)
            if rolls:
                count_all()
            for order in amended:
                house.amend(order)
            if rolls_then:
                count_all()
            if meter is not None:
                counter = Counter(meter_terms([version])[version], subs, house.left())
                expected = {one.number: tidy(counter.answer(one)) for one in requests}
                found = measure(requests)
                assert tidied(found) == expected
                seen.append((found.snapshot, expected))
        count_all()
        assert list(rollups_equal_events(tenant.pk)) == []
        assert tidied(measure(requests)) == seen[-1][1]
        for snapshot, then in seen:  # what was billed can be reckoned again, whatever came after
            assert tidied(measure_as_of(requests, snapshot)) == then
