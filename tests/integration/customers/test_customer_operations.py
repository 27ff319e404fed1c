"""Customers: their time, their currency, and what the database refuses."""

from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ForeignObjectRel, ProtectedError

from apps.core.constraints import broken
from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.customers.domain import ClockFixed, CurrencyInUse, ExternalIdTaken
from apps.customers.models import Customer, TaxId
from apps.customers.operations import change_customer, create_customer
from apps.customers.queries import customer_now, has_amounts, on_clock
from apps.tenants.domain import Mode
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.invoicing import make_issued
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_clock, make_key, make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

WALL = datetime(2026, 6, 1, tzinfo=UTC)


def change(customer: Customer, **changes: Any) -> Customer:
    return change_customer(customer.id, tenant_id=customer.tenant_id, actor=ACTOR, at=AT, **changes)


def test_a_repeat_creates_no_second_customer() -> None:
    tenant, identifier = make_tenant(), new_id()
    first, second = (make_customer(tenant, id=identifier) for _ in range(2))
    assert (first, first.created_at) == (second, AT)
    assert AuditEvent.objects.filter(type="customer.created").count() == 1


def test_the_time_of_a_customer_is_its_clocks_else_its_tenants_else_real() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    own = make_clock(tenant, at=datetime(2020, 1, 1, tzinfo=UTC))
    on_own = make_customer(tenant, test_clock_id=own.id)
    plain = make_customer(tenant)
    assert [customer_now(one, wall=WALL) for one in (on_own, plain)] == [own.now, WALL]
    shared = make_clock(tenant, at=datetime(2024, 1, 1, tzinfo=UTC), attach=True)
    rows = Customer.objects.select_related("test_clock", "tenant__test_clock").in_bulk()
    assert [customer_now(rows[one.id], wall=WALL) for one in (on_own, plain)] == [
        own.now,
        shared.now,
    ]
    in_real_time = make_customer(make_tenant())
    assert customer_now(in_real_time, wall=WALL) == WALL

    def living_on(clock_id: object) -> set[object]:
        return set(Customer.objects.filter(on_clock(clock_id)))  # type: ignore[arg-type]

    assert living_on(None) == set()
    with tenant_scope(in_real_time.tenant_id):
        assert living_on(None) == {in_real_time}
    assert living_on(own.id) == {on_own}
    assert living_on(shared.id) == {plain}
    assert living_on(new_id()) == set()
    TaxId.objects.create(tenant=tenant, customer=plain, kind="us_ein", value="911144442")
    through = TaxId.objects.filter(on_clock(shared.id, prefix="customer__"))
    assert [one.customer for one in through] == [plain]


def test_the_currency_is_fixed_by_the_first_row_that_has_one() -> None:
    customer = make_customer()
    assert not has_amounts(customer)
    assert change(customer, currency="EUR").currency == "EUR"
    make_subscription(customer, make_plan(customer.tenant, currency="EUR"))
    assert has_amounts(customer)
    with pytest.raises(CurrencyInUse, match="EUR"):
        change(customer, currency="USD", name="Not kept")
    customer.refresh_from_db()
    assert (customer.currency, customer.name) == ("EUR", "Globex")
    assert change(customer, currency="EUR", name="Kept").name == "Kept"


def test_documents_of_every_kind_count() -> None:
    counted = {
        relation.related_model._meta.label
        for relation in Customer._meta.get_fields(include_hidden=True)
        if isinstance(relation, ForeignObjectRel)
        and any(field.name == "currency" for field in relation.related_model._meta.fields)
    }
    assert counted >= {"subscriptions.Subscription", "invoicing.Invoice", "payments.Payment"}


@pytest.mark.django_db(transaction=True)
def test_a_document_that_is_being_written_is_waited_for() -> None:
    customer = make_customer()
    plan = make_plan(customer.tenant)
    written, finish = Event(), Event()
    outcome: list[str] = []

    def write() -> None:
        with transaction.atomic():
            make_subscription(customer, plan)
            written.set()
            finish.wait(timeout=20)
        connection.close()

    def change_currency() -> None:
        try:
            change(customer, currency="EUR")
            outcome.append("changed")
        except CurrencyInUse:
            outcome.append("in use")
        connection.close()

    threads = [Thread(target=write), Thread(target=change_currency)]
    threads[0].start()
    written.wait(timeout=20)
    threads[1].start()
    threads[1].join(timeout=0.5)
    assert outcome == []
    finish.set()
    for thread in threads:
        thread.join()
    assert outcome == ["in use"]


def test_a_customer_keeps_its_clock() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant)
    customer = make_customer(tenant)
    with pytest.raises(ClockFixed):
        change(customer, test_clock_id=clock.id)
    assert change(customer, test_clock_id=None) == customer


def test_a_clock_must_be_of_the_tenant() -> None:
    clock = make_clock(make_tenant(mode=Mode.TEST))
    with pytest.raises(NotFound):
        make_customer(make_tenant(mode=Mode.TEST), test_clock_id=clock.id)


def test_a_customer_is_changed_by_its_own_tenant_only() -> None:
    customer = make_customer()
    with pytest.raises(NotFound):
        change_customer(customer.id, tenant_id=make_tenant().id, name="X", actor=ACTOR, at=AT)


@pytest.mark.django_db(transaction=True)
def test_one_external_id_is_taken_once_at_the_same_moment() -> None:
    tenant = make_tenant()
    outcomes: list[str] = []

    def go() -> None:
        try:
            make_customer(tenant, external_id="crm-1")
            outcomes.append("made")
        except ExternalIdTaken:
            outcomes.append("taken")
        connection.close()

    threads = [Thread(target=go) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made"] + ["taken"] * 4
    assert AuditEvent.objects.filter(type="customer.created").count() == 1


def run(statement: str, values: dict[str, UUID]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE customers_customer SET currency = 'eur'", "customer_currency_form"),
        ("UPDATE customers_customer SET test_clock_id = %(clock)s", "customer_clock_of_tenant"),
        ("UPDATE customers_taxid SET tenant_id = %(other)s", "tax_id_of_tenant"),
    ],
)
def test_what_the_database_refuses(statement: str, constraint: str) -> None:
    make_customer(tax_ids=[("us_ein", "91-1144442")])
    other = make_tenant(mode=Mode.TEST)
    values = {"clock": make_clock(other).id, "other": other.id}
    with as_superuser(), pytest.raises(IntegrityError) as raised, transaction.atomic():
        run(statement, values)
    assert broken(raised.value) == constraint


def test_wrong_values_are_refused_whoever_calls() -> None:
    tenant = make_tenant()
    for values in ({"currency": "xxx"}, {"zone": "Mars/Base"}, {"address": {"country": "XX"}}):
        with pytest.raises(Exception, match=r"unknown|no ISO|not "):
            create_customer(
                tenant.id,
                id=new_id(),
                actor=ACTOR,
                at=AT,
                **{"name": "G", "currency": "USD", "zone": "UTC", **values},  # type: ignore[arg-type]
            )
    assert Customer.objects.count() == 0


@pytest.mark.holds("B86")
def test_who_has_documents_is_not_deleted_by_anybody() -> None:
    document = make_issued(make_customer())
    customer = document.customer
    answer = Api(make_key(customer.tenant)).delete(f"/customers/{customer.public_id}")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, PATCH, HEAD, OPTIONS")
    with pytest.raises(ProtectedError):
        customer.delete()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError), transaction.atomic():
            cursor.execute("DELETE FROM customers_customer WHERE id = %s", [customer.pk])
    assert Customer.objects.filter(pk=customer.pk).exists()
