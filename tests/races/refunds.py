"""Races for money that goes back."""

from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import bill_customer
from apps.invoicing.operations.giving_back import claw_back_credit
from apps.invoicing.operations.issuing import issue_invoice
from apps.ledger.models import JournalEntry
from apps.payments.models import Payment, Refund, SandboxRefund
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.refund_outcomes import fail_refund, settle_refund
from apps.payments.operations.refund_resolving import resolve_refunds
from apps.payments.operations.refunding import begin_refund, refund_memo, refund_payment
from apps.payments.operations.unused import refund_unused
from apps.subscriptions.domain import CancelMode
from apps.subscriptions.operations import cancel_subscription
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from apps.wallets.domain import EntryKind, InsufficientCredit
from apps.wallets.models import CreditTransaction
from apps.wallets.operations.purchasing import purchase_credit
from tests.make.catalog import make_plan
from tests.make.invoicing import fresh, make_draft, make_issued
from tests.make.payments import make_payer, usd
from tests.make.races import refusals, winners
from tests.make.refunds import given_back, make_paid_invoice, receive
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant
from tests.make.wallets import fresh_grant, fresh_wallet, make_wallet, spend
from tests.races.course import Race
from tests.races.documents import told

_WHY: dict[str, Any] = {"reason": "It was down."}
_AHEAD = {"key": "base", "pricing": {"model": "flat", "amount": "100.00"}}


def refund_by_refund() -> Race:
    """Ten want 30 back of 149: four get it."""
    invoice, payment = make_paid_invoice()

    def refund() -> Any:
        return refund_payment(payment.id, id=new_id(), amount=usd("30.00"), **_WHY, **told(invoice))

    def judge(results: list[Any]) -> None:
        assert (len(winners(results)), refusals(results)) == (4, ["refund_exceeds_paid"] * 6)
        assert given_back(payment) == 120

    return Race([refund] * 10, judge)


def refund_by_itself() -> Race:
    invoice, payment = make_paid_invoice("sandbox_refund_duplicate")
    chosen = new_id()

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        assert {one.id for one in results} == {chosen}
        assert Refund.objects.filter(payment=payment).count() == 1
        assert given_back(payment) == 149

    return Race([lambda: refund_payment(payment.id, id=chosen, **_WHY, **told(invoice))] * 6, judge)


def settle_by_fail() -> Race:
    invoice, payment = make_paid_invoice()
    refund = begin_refund(payment.id, id=new_id(), **_WHY, **told(invoice))

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        status = Refund.objects.get(pk=refund.pk).status
        booked = JournalEntry.objects.filter(kind="refund_settled", source_key=refund.public_id)
        assert (status, booked.count()) in {("succeeded", 1), ("failed", 0)}

    return Race(
        [
            lambda: settle_refund(
                refund.id, paid=usd("149.00"), provider_ref="re_1", **told(invoice)
            ),
            lambda: fail_refund(refund.id, code="refund_refused", message="", **told(invoice)),
        ]
        * 4,
        judge,
    )


def memo_by_billing() -> Race:
    """A credit memo of 70 is paid back, and pays the next invoice: it gives 70 in all."""
    customer = make_payer(None)
    receive(make_issued(customer, ["100.00"]), "100.00")
    memo = make_issued(customer, ["-70.00"])
    draft = make_draft(customer, ["50.00"])

    def judge(results: list[Any]) -> None:
        assert set(refusals(results)) <= {"nothing_to_refund"}
        back = sum((one.amount.amount for one in Refund.objects.filter(customer=customer)), 0)
        used = fresh(draft).balance_applied.amount
        assert (back, used) in {(Decimal(70), Decimal(0)), (Decimal(20), Decimal(50))}

    return Race(
        [
            lambda: refund_memo(memo.id, id=new_id(), **_WHY, **told(memo)),
            lambda: issue_invoice(draft.id, **told(draft)),
            lambda: refund_memo(memo.id, id=new_id(), **_WHY, **told(memo)),
        ],
        judge,
    )


def cancel_by_refund() -> Race:
    """Somebody pays 12 back while an end of which 100 goes back takes effect: never more than came in."""
    customer = make_payer(zone="UTC", at=AT)
    subscription = make_subscription(customer, make_plan(customer.tenant, [_AHEAD]), AT)
    act: dict[str, Any] = {"actor": ACTOR, "at": AT}
    bill: dict[str, Any] = {"tenant_id": customer.tenant_id, "issue": True, "actor": ACTOR}
    (invoice,) = bill_customer(customer.id, request_id=new_id(), cutoff=AT, **bill, at=AT)
    payment = charge_invoice(invoice.id, id=new_id(), **told(invoice))
    leaving: dict[str, Any] = {"mode": CancelMode.DATE, "ends_at": AT, "refund": True, **act}
    cancel_subscription(subscription.id, **leaving)
    (memo,) = bill_customer(customer.id, request_id=new_id(), cutoff=AT, **bill, at=AT)

    def refund() -> Any:
        return refund_payment(payment.id, id=new_id(), amount=usd("12.00"), **_WHY, **told(invoice))

    def judge(results: list[Any]) -> None:
        assert set(refusals(results)) <= {"refund_exceeds_paid", "nothing_to_refund"}
        refund_unused(memo.id, **told(memo))
        assert given_back(payment) == 100
        by_job = Refund.objects.filter(payment=payment, reason__startswith="Paid ahead")
        assert by_job.count() == 1

    return Race([partial(refund_unused, memo.id, **told(memo)), refund] * 3, judge)


def ask_by_ask() -> Race:
    invoice, payment = make_paid_invoice("sandbox_refund_timeout")
    refund_payment(payment.id, id=new_id(), **_WHY, **told(invoice))
    due = AT + timedelta(minutes=5)

    def judge(results: list[Any]) -> None:
        assert sum(results) == 1
        assert SandboxRefund.objects.get(charge=payment.idempotency_key).asked == 1
        assert given_back(payment) == 149

    return Race([lambda: resolve_refunds(due, tenant_id=invoice.tenant_id)] * 6, judge)


def claw_by_spend() -> Race:
    """Credit is spent while its money goes back: each unit goes one way."""
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT, attach=True)
    wallet = make_wallet(make_payer(tenant=Tenant.objects.get(pk=tenant.pk)))
    grant = purchase_credit(
        wallet.id,
        id=new_id(),
        tenant_id=wallet.tenant_id,
        amount=Decimal(10),
        actor=ACTOR,
        at=AT,
    )
    for _ in range(4):
        run_due(tenant_id=wallet.tenant_id)
    payment = Payment.objects.get(invoice_id=fresh_grant(grant).invoice_id)
    refund_payment(payment.id, id=new_id(), **_WHY, **told(payment.invoice))
    memo = Invoice.objects.get(credits_id=payment.invoice_id)

    def judge(results: list[Any]) -> None:
        assert set(refusals(results)) <= {InsufficientCredit.reason}
        assert (fresh_wallet(wallet).balance, fresh_grant(grant).status) == (0, "refunded")
        back = CreditTransaction.objects.filter(wallet=wallet, kind=EntryKind.REFUND)
        assert back.count() <= 1
        booked = JournalEntry.objects.filter(tenant_id=tenant.id, kind="credit_clawed_back")
        assert booked.count() == 1

    return Race(
        [
            partial(claw_back_credit, memo.id, actor=ACTOR, at=AT),
            partial(claw_back_credit, memo.id, actor=ACTOR, at=AT),
            *[lambda: spend(wallet, "3.00")] * 3,
        ],
        judge,
    )
