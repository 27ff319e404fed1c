"""Several senders at once, and senders that die: each key is stored once, whole or not at all."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, connections

from apps.customers.models import Customer
from apps.metering.operations import ingest_batch
from apps.metering.queries import sender_of
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.tenants import AT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def customer() -> Customer:
    customer = make_customer(external_id="a")
    make_meter(customer.tenant, key="calls")
    return customer


def items(keys: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "idempotency_key": key,
            "event_name": "calls",
            "customer": "a",
            "value": 1,
            "timestamp": AT.isoformat(),
        }
        for key in keys
    ]


def at_once(works: list[Callable[[], None]]) -> None:
    """Run each in a thread with its own connection; raise what one of them raised."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 -- raised again below
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def stored_keys() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM metering_usageevent ORDER BY key")
        return [row[0] for row in cursor.fetchall()]


def test_overlapping_batches_in_any_order_store_each_key_once(customer: Customer) -> None:
    keys = [f"k{number:04}" for number in range(400)]
    sender = sender_of(customer.tenant)
    receipts = []
    lock = threading.Lock()

    def work(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311 -- an order, not a secret
        for _ in range(4):
            batch = dice.sample(keys, 300)
            found = ingest_batch(sender, items(batch), at=AT)
            with lock:
                receipts.extend(found)

    at_once([partial(work, seed) for seed in range(4)])
    accepted = [str(one.idempotency_key) for one in receipts if one.status == "accepted"]
    assert sorted(accepted) == stored_keys() == keys
    assert Counter(one.status for one in receipts) == {"accepted": 400, "duplicate": 4400}


def test_two_payloads_under_one_key_make_one_event_and_one_conflict(customer: Customer) -> None:
    sender = sender_of(customer.tenant)
    statuses: list[str] = []

    def work(value: int) -> None:
        (receipt,) = ingest_batch(sender, [{**items(["k"])[0], "value": value}], at=AT)
        statuses.append(receipt.status)

    at_once([partial(work, value) for value in range(4)])
    assert Counter(statuses) == {"accepted": 1, "conflict": 3}
    assert stored_keys() == ["k"]


def test_a_batch_whose_connection_dies_is_stored_whole_or_not_at_all(customer: Customer) -> None:
    sender = sender_of(customer.tenant)
    keys = [f"k{number:04}" for number in range(300)]
    for attempt in range(3):
        batch = items([f"{attempt}-{key}" for key in keys])
        connection.ensure_connection()
        killer = threading.Timer(0.005 * attempt, _kill, [connection.connection.info.backend_pid])
        killer.start()
        try:
            receipts = ingest_batch(sender, batch, at=AT)
        except OperationalError:
            connection.close()
            receipts = ingest_batch(sender, batch, at=AT)  # as a sender does who gets a 503
        killer.join()
        assert {one.status for one in receipts} <= {"accepted", "duplicate"}
        connection.close()
    assert stored_keys() == [f"{attempt}-{key}" for attempt in range(3) for key in keys]


def _kill(pid: int) -> None:
    settings = connection.get_connection_params()
    wanted = {name: settings[name] for name in ("dbname", "user", "host") if settings.get(name)}
    with psycopg.connect(**wanted, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
