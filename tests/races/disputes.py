"""Races for money that is taken back by dispute."""

from decimal import Decimal
from functools import partial
from typing import Any

from apps.core.ids import new_id
from apps.core.states import IllegalTransition
from apps.invoicing.operations.issuing import issue_invoice
from apps.ledger.models import JournalEntry
from apps.payments.models import Dispute
from apps.payments.operations.collecting import collect_invoice
from apps.payments.operations.disputing import Claim, lose_dispute, open_dispute, win_dispute
from apps.payments.operations.refunding import refund_payment
from tests.make.disputes import dispute, disputed
from tests.make.invoicing import fresh, make_draft, make_issued
from tests.make.payments import make_payer, usd
from tests.make.races import refusals
from tests.make.refunds import given_back, make_paid_invoice, receive
from tests.races.course import Race
from tests.races.documents import told


def dispute_by_refund() -> Race:
    """149 are disputed and refunded in parts of 30 and 50: together never more than came in."""
    invoice, payment = make_paid_invoice()

    def refund() -> Any:
        return refund_payment(
            payment.id, id=new_id(), amount=usd("30.00"), reason="down", **told(invoice)
        )

    def claim() -> Any:
        told_ = Claim(reference=str(new_id()), amount=usd("50.00"))
        return open_dispute(payment.id, told_, id=new_id(), **told(invoice))

    def judge(results: list[Any]) -> None:
        assert set(refusals(results)) <= {"refund_exceeds_paid", "dispute_exceeds_paid"}
        gone = given_back(payment) + disputed(payment)
        assert Decimal(119) < gone <= Decimal(149)

    return Race([refund, claim] * 4, judge)


def dispute_by_itself() -> Race:
    invoice, payment = make_paid_invoice()

    def claim() -> Any:
        return open_dispute(
            payment.id, Claim(reference="dp_1", fee=usd("15.00")), id=new_id(), **told(invoice)
        )

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        assert len({one.id for one in results}) == 1
        assert Dispute.objects.filter(payment=payment).count() == 1
        booked = JournalEntry.objects.filter(kind="dispute_opened", tenant_id=invoice.tenant_id)
        assert booked.count() == 1

    return Race([claim] * 6, judge)


def win_by_lose() -> Race:
    invoice, payment = make_paid_invoice()
    case = dispute(payment)

    def judge(results: list[Any]) -> None:
        assert refusals(results) == [IllegalTransition.reason] * 4
        status = Dispute.objects.get(pk=case.pk).status
        booked = JournalEntry.objects.filter(
            kind__in=["dispute_won", "dispute_lost"], tenant_id=invoice.tenant_id
        )
        assert [one.kind for one in booked] == [f"dispute_{status}"]

    return Race(
        [
            partial(win_dispute, case.id, **told(invoice)),
            partial(lose_dispute, case.id, **told(invoice)),
        ]
        * 4,
        judge,
    )


def dispute_by_billing() -> Race:
    """30 were paid too much: they are disputed, or pay the next invoice, and never both."""
    customer = make_payer(None)
    paid = make_issued(customer, ["100.00"])
    payment = receive(paid, "130.00")
    draft = make_draft(customer, ["30.00"])
    issue_invoice(draft.id, **told(draft))

    def claim() -> Any:
        told_ = Claim(reference="dp_1", amount=usd("30.00"))
        return open_dispute(payment.id, told_, id=new_id(), **told(paid))

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        taken = Dispute.objects.get(payment=payment).from_account
        assert (taken, fresh(draft).amount_paid.amount) in {
            (Decimal(30), Decimal(0)),
            (Decimal(0), Decimal(30)),
        }

    return Race([claim, partial(collect_invoice, draft.id, **told(draft))] * 2, judge)
