"""A payment method that says when it expires is not charged after; held payments are decided."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from django.test import Client
from django.urls import reverse

from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.invoicing.models import Invoice
from apps.payments.domain import MethodUnusable, end_of_month, last_month
from apps.payments.models import Collection, Payment, PaymentMethod
from apps.payments.operations.attempts import begin_payment
from apps.payments.operations.collecting import collect_invoice
from apps.payments.operations.methods import add_payment_method
from apps.payments.operations.outcomes import hold_payment
from apps.tenants.domain import Mode, Role
from tests.make.api import Api
from tests.make.invoicing import fresh, make_issued
from tests.make.payments import broken_rules, fresh_payment, make_owing, make_payer
from tests.make.tenants import ACTOR, AT, make_key, make_member, make_tenant

pytestmark = pytest.mark.django_db

MAY: Final = datetime(2026, 6, 1, tzinfo=UTC)  # the end of the month of AT


def make_expiring(expires_at: datetime | None = MAY) -> PaymentMethod:
    customer = make_payer(None)
    return add_payment_method(
        customer.id,
        id=new_id(),
        provider="sandbox",
        provider_ref="sandbox_ok",
        make_default=True,
        expires_at=expires_at,
        tenant_id=customer.tenant_id,
        actor=ACTOR,
        at=AT,
    )


def begin(invoice: Invoice, *, at: datetime, method_id: Any = None) -> Payment:
    return begin_payment(
        invoice.id,
        id=new_id(),
        method_id=method_id,
        tenant_id=invoice.tenant_id,
        actor=ACTOR,
        at=at,
    )


@pytest.mark.parametrize(
    ("month", "end"),
    [((2026, 5), "2026-06-01"), ((2026, 12), "2027-01-01"), ((2028, 2), "2028-03-01")],
)
def test_a_month_ends_where_the_next_begins(month: tuple[int, int], end: str) -> None:
    instant = end_of_month(*month)
    assert instant == datetime.fromisoformat(f"{end}T00:00:00+00:00")
    assert last_month(instant) == f"{month[0]}-{month[1]:02}"


@pytest.mark.holds("B102")
@pytest.mark.parametrize("named", [True, False])
def test_it_is_charged_until_its_month_has_ended(*, named: bool) -> None:
    method = make_expiring()
    invoice = make_issued(method.customer)
    method_id = method.id if named else None
    with pytest.raises(MethodUnusable, match="expired with 2026-05"):
        begin(invoice, at=MAY, method_id=method_id)
    assert begin(invoice, at=MAY - timedelta(seconds=1), method_id=method_id).status == "sent"


@pytest.mark.holds("B102")
def test_what_has_expired_is_not_attached() -> None:
    with pytest.raises(MethodUnusable, match="expired with 2026-04"):
        make_expiring(datetime(2026, 5, 1, tzinfo=UTC))


@pytest.mark.holds("B102")
def test_collecting_by_itself_skips_it_with_the_reason() -> None:
    method = make_expiring()
    invoice = make_issued(method.customer, at=MAY)
    method.default_since = AT
    assert collect_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=MAY) is None
    collection = Collection.objects.get(invoice=invoice)
    assert collection.last_failure == (
        "The customer's default payment method expired with 2026-05."
    )
    assert not Payment.objects.exists()


@pytest.mark.holds("B102")
@pytest.mark.parametrize(
    ("expires", "status", "code"),
    [
        ("2099-12", 201, None),
        (None, 201, None),
        ("2020-01", 422, "payment_method_unusable"),
        ("2099-13", 400, "month_format"),
        ("2099-1", 400, "month_format"),
        ("12/99", 400, "month_format"),
        (209912, 400, "month_format"),
    ],
)
def test_the_month_over_http(expires: Any, status: int, code: str | None) -> None:
    customer = make_payer(None)
    api = Api(make_key(customer.tenant))
    body = {"provider": "sandbox", "provider_ref": "sandbox_ok", "expires": expires}
    answer = api.post(f"/customers/{customer.public_id}/payment-methods", body)
    assert answer.status_code == status
    if code is None:
        assert answer.json()["expires"] == expires
    else:
        (error,) = answer.json()["errors"]
        assert (error["field"], error["code"]) == ("expires", code)
        assert not PaymentMethod.objects.exists()


# --- held -------------------------------------------------------------------------------------


def make_held() -> Payment:
    """Return a payment of which the provider said that it took another amount."""
    payment = begin(make_owing(), at=AT)
    return hold_payment(
        payment.id, reason="took 148.99", tenant_id=payment.tenant_id, actor=ACTOR, at=AT
    )


def desk_of(payment: Payment) -> Client:
    live = payment.tenant.twin
    client = Client()
    client.force_login(make_member(live, role=Role.FINANCE).operator)
    return client


def decide(client: Client, payment: Payment, verb: str) -> Any:
    return client.post(reverse("admin:payments_payment_verb", args=[payment.pk, verb]))


def test_finance_settles_what_was_held() -> None:
    payment = make_held()
    client = desk_of(payment)
    page = client.get(reverse("admin:payments_payment_change", args=[payment.pk])).content.decode()
    assert ("verb/settle/" in page, "verb/return/" in page) == (True, True)
    assert decide(client, payment, "settle").status_code == 302
    stored = fresh_payment(payment)
    assert (stored.status, stored.failure_code) == ("succeeded", "")
    assert fresh(payment.invoice).status == "paid"
    event = AuditEvent.objects.get(type="payment.succeeded")
    assert event.actor.startswith("operator:opr_")
    assert broken_rules() == []


def test_finance_notes_that_it_was_returned() -> None:
    payment = make_held()
    client = desk_of(payment)
    assert decide(client, payment, "return").status_code == 302
    stored = fresh_payment(payment)
    assert (stored.status, stored.failure_message) == ("failed", "Returned: took 148.99")
    assert fresh(payment.invoice).status == "issued"
    assert begin(payment.invoice, at=AT).status == "sent"  # it can be charged anew
    decide(client, payment, "settle")  # asked past the page
    assert fresh_payment(payment).status == "failed"


def test_what_is_not_held_is_not_offered() -> None:
    payment = begin(make_owing(tenant=make_tenant(mode=Mode.TEST)), at=AT)
    url = reverse("admin:payments_payment_change", args=[payment.pk])
    page = desk_of(payment).get(url).content.decode()
    assert ("verb/settle/" in page, "verb/return/" in page) == (False, False)
