"""Whatever is sent as events is answered, and stored whole or not at all."""

import json
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from apps.core.clock import now
from apps.metering.models import OrphanEvent
from apps.rating.aggregation import Aggregation
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db

often = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["acme", "calls", "sizes", "traffic", "9" * 21, "1e400", "\x00", "\ud800", ""]),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**39), 0]),
    st.floats(),
    texts,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=12,
)


@st.composite
def deep(draw: st.DrawFn) -> Any:
    """Draw a value inside of many lists and objects."""
    value = draw(scalars)
    for _ in range(draw(st.integers(1, 40))):
        value = draw(st.sampled_from([[value], {"a": value}]))
    return value


@st.composite
def items(draw: st.DrawFn) -> Any:
    """Draw an event, some of whose fields hold anything."""
    item: dict[str, Any] = {
        "idempotency_key": draw(st.text("abc", min_size=1, max_size=3)),
        "event_name": draw(st.sampled_from(["calls", "sizes", "traffic", "other"])),
        "customer": draw(st.sampled_from(["acme", "nobody"])),
        "timestamp": now().isoformat(),
        "value": draw(st.sampled_from(["1", 2, 0.5, None])),
        "properties": {"size": draw(st.one_of(scalars, st.just(3)))},
    }
    for name in draw(st.lists(st.sampled_from([*item, "meter", "else"]), max_size=2)):
        item[name] = draw(st.one_of(values, deep()))
    for name in draw(st.lists(st.sampled_from([*item]), max_size=1)):
        del item[name]
    return item


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def broken(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Draw a body of which a stretch has been replaced by other bytes."""
    body = draw(bodies)
    first = draw(st.integers(0, len(body)))
    return body[:first] + draw(st.binary(max_size=3)) + body[first + draw(st.integers(0, 4)) :]


single = st.one_of(items(), values).map(as_json)
many = st.one_of(st.lists(items(), max_size=8), values)
batches = many.map(lambda found: as_json({"events": found}))
bulks = many.map(as_json)
bodies = st.one_of(st.binary(max_size=40), single, batches, bulks)
anything = st.one_of(bodies, broken(bodies))
where = st.sampled_from(
    ["/events", "/events/batch", "/streams/raw/events", "/streams/raw/events/bulk"]
)


@pytest.fixture
def api() -> Api:
    tenant = make_tenant()
    make_meter(tenant, key="calls", aggregation=Aggregation.COUNT)
    make_meter(tenant, key="traffic", refuses_negative=True)
    make_meter(
        tenant,
        key="sizes",
        value_property="size",
        filters=[{"property": "size", "op": "gt", "value": "1"}],
    )
    make_customer(tenant, external_id="acme")
    made = Api(make_key(tenant))
    stream = {
        "handle": "raw",
        "event_name": "sizes",
        "subject_path": "customer",
        "value_path": "properties.size",
        "timestamp_path": "timestamp",
    }
    assert made.post("/streams", stream).status_code == 201
    return made


def stored() -> tuple[int, int]:
    """Return how many keys there are, and how many events and orphans."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM metering_usageeventkey),"
            " (SELECT count(*) FROM metering_usageevent)"
        )
        keys, events = cursor.fetchone()
    return keys, events + OrphanEvent.objects.count()


def accepted(answer: Any) -> int:
    """Return how many events an answer says are stored now."""
    if answer.status_code != 202:
        return 0
    found = answer.json()
    return found["accepted"] if found["object"] == "receipts" else 1


@often
@given(where, anything)
@example("/events", b'{"idempotency_key":"k","event_name":"calls","customer":"acme"}')
@example("/events/batch", as_json({"events": [{"properties": {"a": 10**400}}] * 9}))
@example("/streams/raw/events", b"[" * 100_000)
@example("/streams/raw/events", b'{"customer":"acme","properties":{"size":1e999999999}}')
def test_every_body_is_answered_and_stored_whole_or_not_at_all(
    api: Api, path: str, body: bytes
) -> None:
    before = stored()
    answer = api.send("POST", path, body)
    assert answer.status_code in {200, 202, 400, 409, 413, 422}
    assert isinstance(answer.json(), dict)
    count = accepted(answer)
    assert stored() == (before[0] + count, before[1] + count)


@often
@given(st.lists(items(), min_size=1, max_size=8))
def test_every_item_of_a_batch_gets_a_receipt_that_a_repeat_confirms(
    api: Api, batch: list[Any]
) -> None:
    answer = api.send("POST", "/events/batch", as_json({"events": batch}))
    if answer.status_code != 202:
        assert answer.status_code == 400  # what no JSON reader takes
        return
    receipts = answer.json()["results"]
    assert [one["index"] for one in receipts] == list(range(len(batch)))
    before = stored()
    again = api.send("POST", "/events/batch", as_json({"events": batch})).json()["results"]
    expected = {"accepted": "duplicate"}
    assert [one["status"] for one in again] == [
        expected.get(one["status"], one["status"]) for one in receipts
    ]
    assert stored() == before


@often
@given(values)
def test_a_stream_maps_any_object(api: Api, value: Any) -> None:
    item = {"customer": "acme", "timestamp": now().isoformat(), "properties": value}
    before = stored()
    body = [item, {"customer": value}, {"timestamp": value}]
    answer = api.send("POST", "/streams/raw/events/bulk", as_json(body))
    count = accepted(answer)
    assert answer.status_code in {202, 400}
    assert stored() == (before[0] + count, before[1] + count)
