"""Measuring equals counting every event one by one, wherever the reader stands."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from apps.core.tenancy import enter_tenant
from apps.metering.domain import UsageRequest, UsageSpan
from apps.metering.invariants import rollups_equal_events
from apps.metering.queries import latest_version, measure, measure_as_of, meter_terms
from apps.rating.aggregation import Aggregation
from apps.rating.pricing import Need
from tests.make.customers import make_customer
from tests.make.facts import BANDS, START, Counter, Fact, definitions, facts, questions, store, tidy
from tests.make.metering import count_all, make_meter, make_subject
from tests.make.tenants import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)

WEEK = UsageSpan(START, START + timedelta(days=7), unassigned=False)


@example(
    # a name in digits is no amount
    {"aggregation": Aggregation.UNIQUE_COUNT, "value_property": "region"},
    [([Fact(START, 0, "0.00", {"region": 5})], False)],
    0,
    [(None, (WEEK,), Need.TRANSACTIONS)],
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    definitions(),
    st.lists(st.tuples(st.lists(facts, max_size=12), st.booleans()), max_size=4),
    st.integers(0, 4),
    st.lists(questions(), min_size=1, max_size=5),
)
@pytest.mark.holds("U5", "U11")
def test_measuring_is_counting(
    definition: dict[str, Any],
    batches: list[tuple[list[Fact], bool]],
    born: int,
    asked: list[tuple[int | None, tuple[UsageSpan, ...], Need]],
) -> None:
    tenant = make_tenant()
    enter_tenant(tenant.pk)
    customer = make_customer(tenant)
    other = make_customer(tenant)
    subs = [None, *(make_subject(customer, opens_at=START).pk for _ in range(2))]
    name = make_meter(tenant, aggregation=Aggregation.COUNT).key
    meter = None
    arrived: list[Fact] = []
    for number, (batch, rolls) in enumerate(batches):
        if number == born:
            meter = make_meter(tenant, event_name=name, **definition)
        store(customer, subs, name, batch)
        store(other, subs, name, batch)
        arrived += batch
        if rolls:
            count_all()
    meter = meter or make_meter(tenant, event_name=name, **definition)
    version_id = latest_version(meter.pk).pk
    requests = [
        UsageRequest(
            number,
            tenant.pk,
            customer.pk,
            None if whose is None else subs[whose],
            version_id,
            spans,
            need,
            BANDS if need == Need.BANDS else None,
        )
        for number, (whose, spans, need) in enumerate(asked)
    ]
    counter = Counter(meter_terms([version_id])[version_id], subs, arrived)
    expected = {one.number: counter.answer(one) for one in requests}
    found = measure(requests)
    assert {number: tidy(one) for number, one in found.by_request.items()} == {
        number: tidy(one) for number, one in expected.items()
    }
    count_all()
    assert list(rollups_equal_events(tenant.pk)) == []
    for again in (measure(requests), measure_as_of(requests, found.snapshot)):
        assert {number: tidy(one) for number, one in again.by_request.items()} == {
            number: tidy(one) for number, one in expected.items()
        }
