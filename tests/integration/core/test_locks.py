"""Locks: taken in one order, or refused; two that take them in order never deadlock."""

from collections.abc import Callable
from contextlib import suppress
from threading import Barrier, Thread

import pytest
from django.apps import apps
from django.db import connection, transaction

from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.locks import LOCK_ORDER, LockOrderViolated, lock_row, lock_rows
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.subscriptions.models import Subscription
from tests.make.customers import make_customer
from tests.make.tenants import make_tenant


def lock(model: type[Customer | Invoice | Subscription]) -> None:
    """Take the lock as far as its place in the order goes; there need be no row."""
    lock_rows(model, [new_id()], tenant_id=new_id())


def test_every_model_in_the_order_exists() -> None:
    known = {model._meta.label_lower for model in apps.get_models()}
    planned = {"wallets.wallet"}
    assert set(LOCK_ORDER) - known <= planned


@pytest.mark.django_db
def test_down_the_order_is_right_up_is_not() -> None:
    with transaction.atomic():
        lock(Customer)
        lock(Subscription)
        lock(Subscription)
        lock(Invoice)
        with pytest.raises(LockOrderViolated, match=r"customers\.customer .* invoicing\.invoice"):
            lock(Customer)
    with transaction.atomic():  # a transaction of its own begins anew
        lock(Customer)


@pytest.mark.django_db
def test_a_nested_operation_goes_on_where_the_outer_one_is() -> None:
    with transaction.atomic():
        with transaction.atomic():
            lock(Invoice)
        with pytest.raises(LockOrderViolated):
            lock(Customer)
    with transaction.atomic():
        lock(Invoice)
        with pytest.raises(LockOrderViolated), transaction.atomic():
            lock(Customer)


@pytest.mark.django_db
def test_a_savepoint_that_is_rolled_back_gives_its_locks_back() -> None:
    with transaction.atomic():
        lock(Customer)
        with suppress(ZeroDivisionError), transaction.atomic():
            lock(Invoice)
            raise ZeroDivisionError
        lock(Subscription)
        with pytest.raises(LockOrderViolated):
            lock(Customer)


@pytest.mark.django_db(transaction=True)
def test_the_same_in_real_transactions() -> None:
    with pytest.raises(LockOrderViolated, match="inside a transaction"):
        lock(Customer)
    for _ in range(2):
        with transaction.atomic():
            lock(Customer)
            with transaction.atomic():
                lock(Invoice)
            with pytest.raises(LockOrderViolated):
                lock(Subscription)
    with transaction.atomic():
        lock(Subscription)


@pytest.mark.django_db
def test_only_rows_of_the_tenant_are_locked_in_the_order_of_their_keys() -> None:
    tenant = make_tenant()
    mine = [make_customer(tenant) for _ in range(3)]
    theirs = make_customer()
    ids = [one.id for one in (mine[2], theirs, mine[0], mine[1])]
    with transaction.atomic():
        found = lock_rows(Customer, ids, tenant_id=tenant.id)
        assert [one.id for one in found] == [one.id for one in mine]
        assert lock_row(Customer, mine[0].id, tenant_id=tenant.id) == mine[0]
        with pytest.raises(NotFound, match="There is no such customer"):
            lock_row(Customer, theirs.id, tenant_id=tenant.id)


@pytest.mark.django_db(transaction=True)
def test_a_lock_excludes_changers_and_no_one_who_refers_to_the_row() -> None:
    customer = make_customer()
    came: list[str] = []

    def run(work: Callable[[], object], name: str) -> Thread:
        def go() -> None:
            with transaction.atomic():
                work()
                came.append(name)
            connection.close()

        thread = Thread(target=go)
        thread.start()
        return thread

    def refer() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO customers_taxid (id, tenant_id, customer_id, kind, value)"
                " VALUES (%s, %s, %s, 'us_ein', '911144442')",
                [new_id(), customer.tenant_id, customer.id],
            )

    with transaction.atomic():
        lock_row(Customer, customer.id, tenant_id=customer.tenant_id)
        referring = run(refer, "referred")
        referring.join(timeout=10)
        changing = run(
            lambda: lock_row(Customer, customer.id, tenant_id=customer.tenant_id), "changed"
        )
        changing.join(timeout=0.5)
        came.append("first")
    changing.join(timeout=10)
    assert came == ["referred", "first", "changed"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.holds("F14")
def test_many_threads_over_many_rows_never_deadlock() -> None:
    tenant = make_tenant()
    ids = [make_customer(tenant).id for _ in range(6)]
    barrier, done = Barrier(8), []

    def work(turn: int) -> None:
        barrier.wait()
        for step in range(10):
            wanted = ids[(turn + step) % 6 :] + ids[: (turn + step) % 6]
            with transaction.atomic():
                for one in lock_rows(Customer, wanted[:4], tenant_id=tenant.id):
                    one.name = f"{turn}-{step}"
                    one.save(update_fields=["name"])
            done.append((turn, step))
        connection.close()

    threads = [Thread(target=work, args=(turn,)) for turn in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 80
