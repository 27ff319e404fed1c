"""What the server is told about whose scope a statement runs in: always the truth."""

import threading
from contextvars import Context
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction

from apps.core.ids import new_id
from apps.core.tenancy import current_tenant, enter_tenant, tenant_scope
from tests.make.api import Api
from tests.make.tenants import make_key, make_tenant

A, B = new_id(), new_id()


def told() -> str:
    """Return what the server holds for the tenant: "" for none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('app.tenant_id', true), '')")
        return str(cursor.fetchone()[0])


def fail(tenant_id: UUID) -> None:
    """Run a statement that fails, and before it one that does not, in the tenant's scope."""
    with tenant_scope(tenant_id), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.execute("SELECT 1/0")


@pytest.mark.django_db
def test_a_scope_ends_with_its_block_and_may_be_nested() -> None:
    assert (current_tenant(), told()) == (None, "")
    with tenant_scope(A):
        assert told() == str(A)
        with tenant_scope(B):
            assert told() == str(B)
        assert told() == str(A)
        with tenant_scope(None):
            assert told() == ""
    assert told() == ""


@pytest.mark.django_db
def test_a_scope_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), tenant_scope(A):
        raise ZeroDivisionError
    assert told() == ""


@pytest.mark.django_db(transaction=True)
def test_reads_outside_of_transactions_are_in_the_scope() -> None:
    with tenant_scope(A):
        assert [told(), told()] == [str(A)] * 2


@pytest.mark.django_db(transaction=True)
def test_a_rollback_changes_nothing_about_the_scope() -> None:
    with tenant_scope(A):
        told()
        with pytest.raises(DatabaseError), transaction.atomic():
            fail(B)
        assert told() == str(A)
    assert told() == ""


@pytest.mark.django_db(transaction=True)
def test_a_scope_entered_in_a_transaction_that_is_rolled_back_goes_on() -> None:
    enter_tenant(A)
    transaction.set_autocommit(False)
    enter_tenant(B)
    told()
    transaction.rollback()
    transaction.set_autocommit(True)
    assert told() == str(B)


@pytest.mark.django_db
def test_a_savepoint_rolled_back_changes_nothing_about_the_scope() -> None:
    with transaction.atomic():
        with tenant_scope(A):
            told()
            with pytest.raises(DatabaseError), transaction.atomic():
                fail(B)
            assert told() == str(A)
            savepoint = transaction.savepoint()
            with tenant_scope(B):
                told()
            transaction.savepoint_rollback(savepoint)
            assert told() == str(A)
        assert told() == ""


@pytest.mark.django_db(transaction=True)
def test_a_new_connection_is_told() -> None:
    with tenant_scope(A):
        told()
        connection.close()
        assert told() == str(A)
    connection.close()
    assert told() == ""


@pytest.mark.django_db(transaction=True)
def test_a_cursor_of_the_server_is_in_the_scope() -> None:
    tenant = make_tenant()
    with tenant_scope(tenant.id), transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant_id')")
        assert cursor.fetchone() == (str(tenant.id),)


@pytest.mark.django_db(transaction=True)
@pytest.mark.holds("T3")
def test_a_thread_begins_in_nobodys_scope() -> None:
    seen: list[object] = []

    def look() -> None:
        seen.append((current_tenant(), told()))
        connection.close()

    with tenant_scope(A):
        thread = threading.Thread(target=look)
        Context().run(thread.start)  # as the program's own threads, which no test begins
        thread.join()
    assert seen == [(None, "")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.holds("T3")
def test_requests_on_one_connection_inherit_nothing_from_each_other() -> None:
    first, second = make_tenant(), make_tenant()
    apis = [Api(make_key(one)) for one in (first, second)]
    with tenant_scope(None):
        for number in range(4):
            assert (
                apis[number % 2].get("/tenant").json()["id"]
                == (first, second)[number % 2].public_id
            )
            assert (current_tenant(), told()) == (None, "")
