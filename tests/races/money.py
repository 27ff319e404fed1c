"""Races for money: charging, receiving, settling, giving up."""

from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.operations.closing import cancel_invoice, mark_overdue, write_off_invoice
from apps.ledger.models import Posting
from apps.payments.models import Payment, PaymentMethod, SandboxCharge
from apps.payments.operations.attempts import begin_payment, charge_invoice
from apps.payments.operations.collecting import collect_invoice, retry_collections
from apps.payments.operations.methods import set_default
from apps.payments.operations.outcomes import fail_payment, settle_payment
from apps.payments.operations.receiving import record_external_payment
from apps.payments.operations.resolving import resolve_unknown
from tests.make.invoicing import fresh, make_issued
from tests.make.payments import make_method, make_owing, make_payer, taken, usd
from tests.make.races import counted, refusals, winners
from tests.make.tenants import ACTOR, AT
from tests.races.course import Race
from tests.races.documents import entries, told

DAY = timedelta(days=1)
DUE = Decimal(149)


def cash(invoice: Any) -> Decimal:
    """Return what the books have received for the customer."""
    rows = Posting.objects.filter(
        account__kind="cash_clearing", tenant_id=invoice.tenant_id
    ).values_list("amount", flat=True)
    return sum(rows, Decimal(0))


def pay_by_pay() -> Race:
    invoice = make_owing()

    def judge(results: list[Any]) -> None:
        assert len(winners(results)) == 1
        assert set(refusals(results)) <= {"payment_in_progress", "invoice_not_collectable"}
        assert taken(invoice) == cash(invoice) == DUE
        assert fresh(invoice).status == InvoiceStatus.PAID

    return Race([lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice))] * 8, judge)


def pay_by_itself() -> Race:
    invoice = make_owing("sandbox_duplicate")
    chosen = new_id()

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        assert {one.id for one in results} == {chosen}
        assert Payment.objects.filter(invoice=invoice).count() == 1
        assert taken(invoice) == DUE

    return Race([lambda: charge_invoice(invoice.id, id=chosen, **told(invoice))] * 6, judge)


def pay_by_collecting() -> Race:
    """By hand, by the first collection, by a retry: all paths at once."""
    invoice = make_owing("sandbox_declined_once")
    collect_invoice(invoice.id, **told(invoice))
    due = AT + DAY

    def judge(results: list[Any]) -> None:
        assert set(refusals(results)) <= {"payment_in_progress", "invoice_not_collectable"}
        assert taken(invoice) == cash(invoice) == DUE
        assert fresh(invoice).status == InvoiceStatus.PAID

    return Race(
        [
            lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice, at=due)),
            lambda: collect_invoice(invoice.id, **told(invoice, at=due)),
            lambda: retry_collections(due, tenant_id=invoice.tenant_id),
        ]
        * 2,
        judge,
    )


def pay_by_cancel() -> Race:
    invoice = make_owing()

    def judge(results: list[Any]) -> None:
        status = fresh(invoice).status
        assert status in {InvoiceStatus.PAID, InvoiceStatus.CANCELED}
        assert set(refusals(results)) <= {"invoice_not_collectable", "illegal_transition"}
        # money that was taken for what is canceled is the customer's, not lost
        assert cash(invoice) == taken(invoice)
        if status == InvoiceStatus.PAID:
            assert taken(invoice) == DUE

    return Race(
        [
            lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice)),
            lambda: cancel_invoice(invoice.id, **told(invoice)),
        ],
        judge,
    )


def pay_by_write_off() -> Race:
    invoice = make_owing()

    def judge(results: list[Any]) -> None:
        assert set(refusals(results)) <= {"invoice_not_collectable"}
        assert cash(invoice) == taken(invoice)
        status = fresh(invoice).status
        paid = taken(invoice) == DUE
        assert status == (InvoiceStatus.PAID if paid else InvoiceStatus.WRITTEN_OFF)
        written, reinstated = (
            entries(kind, invoice) for kind in ("invoice_written_off", "invoice_reinstated")
        )
        assert reinstated == (written if paid else 0)

    return Race(
        [
            lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice)),
            lambda: write_off_invoice(invoice.id, reason="x", **told(invoice)),
        ],
        judge,
    )


def pay_by_overdue() -> Race:
    invoice = make_owing()
    late = AT + 40 * DAY

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        assert fresh(invoice).status == InvoiceStatus.PAID
        assert cash(invoice) == DUE

    return Race(
        [
            lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice, at=late)),
            lambda: mark_overdue(late, actor=ACTOR, tenant_id=invoice.tenant_id),
            lambda: mark_overdue(late, actor=ACTOR, tenant_id=invoice.tenant_id),
        ],
        judge,
    )


def transfer_by_transfer() -> Race:
    invoice = make_issued(make_payer(None), ["149.00"])

    def judge(results: list[Any]) -> None:
        assert len(winners(results)) == 1
        assert set(refusals(results)) <= {"payment_reference_used", "invoice_not_collectable"}
        assert cash(invoice) == DUE

    return Race(
        [
            lambda: record_external_payment(
                invoice.id, id=new_id(), reference="WIRE-1", **told(invoice)
            )
        ]
        * 6,
        judge,
    )


def transfer_by_charge() -> Race:
    invoice = make_owing()

    def judge(results: list[Any]) -> None:
        assert set(refusals(results)) <= {"invoice_not_collectable"}
        received = sum(one.amount.amount for one in winners(results))
        assert cash(invoice) == received
        assert fresh(invoice).amount_paid == usd("149.00")

    return Race(
        [
            lambda: record_external_payment(
                invoice.id, id=new_id(), amount=usd("149.00"), reference="W", **told(invoice)
            ),
            lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice)),
        ],
        judge,
    )


def many_parts() -> Race:
    """Ten transfers of 30 for 149: four whole, one in part, the rest to the customer's account."""
    invoice = make_issued(make_payer(None), ["149.00"])

    def pay(number: int) -> Any:
        return record_external_payment(
            invoice.id, id=new_id(), amount=usd("30.00"), reference=f"W{number}", **told(invoice)
        )

    def judge(results: list[Any]) -> None:
        assert (len(winners(results)), refusals(results)) == (5, ["invoice_not_collectable"] * 5)
        assert cash(invoice) == 150
        assert fresh(invoice).amount_paid == usd("149.00")

    return Race([partial(pay, number) for number in range(10)], judge)


def settle_by_settle() -> Race:
    invoice = make_owing()
    payment = begin_payment(invoice.id, id=new_id(), **told(invoice))

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        assert Payment.objects.get(pk=payment.pk).status == "succeeded"
        assert cash(invoice) == DUE

    return Race(
        [
            lambda: (
                settle_payment(
                    payment.id, received=usd("149.00"), provider_ref="ch_1", **told(invoice)
                ).status
            ),
            lambda: fail_payment(payment.id, code="card_declined", message="", **told(invoice)),
        ]
        * 4,
        judge,
    )


def ask_by_ask() -> Race:
    invoice = make_owing("sandbox_timeout")
    charge_invoice(invoice.id, id=new_id(), **told(invoice))
    due = AT + timedelta(minutes=5)

    def judge(results: list[Any]) -> None:
        assert sum(results) == 1
        assert SandboxCharge.objects.get(invoice=invoice.public_id).asked == 1
        assert cash(invoice) == DUE

    return Race([lambda: resolve_unknown(due, tenant_id=invoice.tenant_id)] * 6, judge)


def job_by_job() -> Race:
    """Workers share the jobs that issuing left: each invoice is collected by one."""
    customer = make_payer()
    invoices = [make_issued(customer, ["149.00"]) for _ in range(6)]

    def judge(results: list[Any]) -> None:
        assert sum(results) == 6
        assert [taken(one) for one in invoices] == [DUE] * 6
        calls = SandboxCharge.objects.filter(tenant_id=customer.tenant_id)
        assert counted([one.calls for one in calls]) == {1: 6}

    return Race([lambda: run_due(tenant_id=customer.tenant_id)] * 4, judge)


def default_by_default() -> Race:
    customer = make_payer()
    others = [make_method(customer, default=False) for _ in range(4)]

    def make_default(method: PaymentMethod) -> Any:
        return set_default(method.id, tenant_id=method.tenant_id, actor=ACTOR, at=AT).id

    def judge(results: list[Any]) -> None:
        assert sorted(results) == sorted(one.id for one in others)
        defaults = PaymentMethod.objects.filter(customer=customer, is_default=True)
        assert defaults.count() == 1

    return Race([partial(make_default, one) for one in others], judge)
