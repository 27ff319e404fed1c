"""Storing events once, with a receipt for each."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from apps.core.ids import encode
from apps.metering.domain import OrphanReason, ReceiptStatus
from apps.metering.models import OrphanEvent
from tests.make.customers import make_customer
from tests.make.metering import make_meter, make_subject, send
from tests.make.tenants import AT

pytestmark = pytest.mark.django_db

ACCEPTED, DUPLICATE = ReceiptStatus.ACCEPTED, ReceiptStatus.DUPLICATE
CONFLICT, REJECTED = ReceiptStatus.CONFLICT, ReceiptStatus.REJECTED


def stored() -> list[tuple[Any, ...]]:
    """Return key, customer, subscription, value of every event, in the order of arrival."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT key, customer_id, subscription_id, value FROM metering_usageevent ORDER BY seq"
        )
        return list(cursor.fetchall())


def test_subjects_are_found_by_id_and_by_external_id() -> None:
    customer = make_customer(external_id="acct_1")
    meter = make_meter(customer.tenant, key="calls")
    subject = make_subject(customer, external_id="ref:1")
    named = {"event_name": "calls", "timestamp": AT.isoformat(), "value": 1}
    subscription_id = customer.public_id.replace("cus_", "sub_")
    receipts = send(
        customer.tenant,
        [
            {**named, "idempotency_key": "1", "customer": customer.public_id},
            {**named, "idempotency_key": "2", "customer_id": "acct_1"},
            {**named, "idempotency_key": "3", "subscription": encode("sub", subject.pk)},
            {**named, "idempotency_key": "4", "subscription_id": "ref:1"},
            {**named, "idempotency_key": "5", "subject": "ref:1"},
            {**named, "idempotency_key": "6", "subject": "acct_1"},
            {**named, "idempotency_key": "7", "subscription": subscription_id},
        ],
    )
    assert [(r.status, r.orphan) for r in receipts] == [(ACCEPTED, None)] * 6 + [
        (ACCEPTED, OrphanReason.UNKNOWN_SUBJECT)
    ]
    own, sub = (customer.pk, None, 1), (customer.pk, subject.pk, 1)
    assert stored() == [
        (key, *rest) for key, rest in zip("123456", [own, own, sub, sub, sub, own], strict=True)
    ]
    assert meter.key == "calls"


def test_a_key_counts_once_whatever_comes_later() -> None:
    customer = make_customer(external_id="a")
    make_meter(customer.tenant, key="calls")
    event = {"idempotency_key": "k", "event_name": "calls", "customer": "a", "value": "5"}
    event["timestamp"] = AT.isoformat()
    first, second, other = send(customer.tenant, [event, event, {**event, "value": "6"}])
    assert (first.status, second.status, other.status) == (ACCEPTED, DUPLICATE, CONFLICT)
    again, different = send(customer.tenant, [{**event, "value": "5.0"}, {**event, "value": "7"}])
    assert (again.status, different.status) == (DUPLICATE, CONFLICT)
    assert different.stored == other.stored != different.sent
    assert [row[0] for row in stored()] == ["k"]


def test_a_bad_item_does_not_lose_its_neighbours() -> None:
    customer = make_customer(external_id="a")
    make_meter(customer.tenant, key="calls")
    good = {"event_name": "calls", "customer": "a", "value": 1, "timestamp": AT.isoformat()}
    receipts = send(customer.tenant, [good, {**good, "value": "NaN"}, good])
    assert [r.status for r in receipts] == [ACCEPTED, REJECTED, ACCEPTED]
    assert (receipts[1].field, receipts[1].reason) == ("value", "number_format")
    assert len(stored()) == 2


def test_what_matches_nothing_becomes_an_orphan_once() -> None:
    customer = make_customer(external_id="a")
    make_meter(customer.tenant, key="calls")
    make_subject(customer, external_id="s", opens_at=AT, closes_at=AT + timedelta(minutes=1))
    base = {"event_name": "calls", "customer": "a", "value": 1, "timestamp": AT.isoformat()}
    late = (AT + timedelta(minutes=1)).isoformat()
    items = [
        {**base, "idempotency_key": "1", "event_name": "cals"},
        {**base, "idempotency_key": "2", "customer": "b"},
        {**base, "idempotency_key": "3"} | {"subscription": "s", "timestamp": late},
    ]
    del items[2]["customer"]
    reasons = [
        OrphanReason.UNKNOWN_METER,
        OrphanReason.UNKNOWN_SUBJECT,
        OrphanReason.OUTSIDE_SUBSCRIPTION,
    ]
    assert [(r.status, r.orphan) for r in send(customer.tenant, items)] == [
        (ACCEPTED, reason) for reason in reasons
    ]
    assert [r.status for r in send(customer.tenant, items)] == [DUPLICATE] * 3
    found = OrphanEvent.objects.order_by("key").values_list("key", "reason", "status")
    assert list(found) == [(str(n + 1), reason, "open") for n, reason in enumerate(reasons)]
    assert stored() == []


def test_a_large_batch_tells_new_known_changed_repeated_and_orphaned_apart() -> None:
    customer = make_customer(external_id="a")
    make_meter(customer.tenant, key="calls")
    base = {"event_name": "calls", "customer": "a", "value": 1, "timestamp": AT.isoformat()}

    def item(number: int, **other: Any) -> dict[str, Any]:
        return {**base, "idempotency_key": f"k{number:02}", **other}

    send(customer.tenant, [item(number) for number in range(0, 40, 4)])
    batch = [item(number) for number in range(39, -1, -1)]
    batch[39 - 8] = item(8, value=2)
    batch[39 - 9] = item(9, customer="b")
    batch[39 - 10] = item(10, event_name="cals")
    batch[39 - 11] = item(11, value="many")
    batch += [item(7), item(13, value=3)]
    receipts = send(customer.tenant, batch)
    known = {f"k{number:02}" for number in range(0, 40, 4)} - {"k08"}
    assert [one.index for one in receipts] == list(range(42))
    assert [one.idempotency_key for one in receipts] == [one["idempotency_key"] for one in batch]
    assert {one.idempotency_key for one in receipts if one.status == DUPLICATE} == known | {"k07"}
    assert [one.idempotency_key for one in receipts if one.status == CONFLICT] == ["k08", "k13"]
    assert [one.idempotency_key for one in receipts if one.status == REJECTED] == ["k11"]
    assert {one.idempotency_key: one.orphan for one in receipts if one.orphan} == {
        "k09": OrphanReason.UNKNOWN_SUBJECT,
        "k10": OrphanReason.UNKNOWN_METER,
    }
    new = [f"k{number:02}" for number in range(39, -1, -1) if number not in {9, 10, 11}]
    assert [row[0] for row in stored()] == [
        *(f"k{number:02}" for number in range(0, 40, 4)),
        *(key for key in new if key not in known | {"k08"}),
    ]
    again = send(customer.tenant, batch)
    assert {one.status for one in again} == {DUPLICATE, CONFLICT, REJECTED}
    assert len(stored()) == 10 + 27
