"""The life of an invoice, the kinds of its lines, and what is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from moneyed import Money

from apps.core.errors import Conflict, Invalid
from apps.core.money import AmountTooFine, fits, plain, round_money


class DocumentKind(StrEnum):
    """An invoice asks for money; a credit memo gives it back to the customer's balance."""

    INVOICE = "invoice"
    CREDIT_MEMO = "credit_memo"


class InvoiceStatus(StrEnum):
    """Where a document stands."""

    DRAFT = "draft"
    ISSUED = "issued"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    OVERDUE = "overdue"
    WRITTEN_OFF = "written_off"
    CANCELED = "canceled"


_OPEN: Final = frozenset(
    {
        InvoiceStatus.PARTIALLY_PAID,
        InvoiceStatus.PAID,
        InvoiceStatus.OVERDUE,
        InvoiceStatus.WRITTEN_OFF,
    }
)
INVOICE_TRANSITIONS: Final[Mapping[InvoiceStatus, frozenset[InvoiceStatus]]] = {
    InvoiceStatus.DRAFT: frozenset({InvoiceStatus.ISSUED}),
    InvoiceStatus.ISSUED: _OPEN | {InvoiceStatus.CANCELED},
    InvoiceStatus.PARTIALLY_PAID: _OPEN - {InvoiceStatus.PARTIALLY_PAID},
    InvoiceStatus.OVERDUE: _OPEN - {InvoiceStatus.OVERDUE} | {InvoiceStatus.CANCELED},
    InvoiceStatus.WRITTEN_OFF: frozenset({InvoiceStatus.PARTIALLY_PAID, InvoiceStatus.PAID}),
    InvoiceStatus.PAID: frozenset(),
    InvoiceStatus.CANCELED: frozenset(),
}
LONGEST_PREVIEW: Final = timedelta(days=3 * 366)
COLLECTABLE: Final = frozenset(
    {InvoiceStatus.ISSUED, InvoiceStatus.PARTIALLY_PAID, InvoiceStatus.OVERDUE}
)


class LineKind(StrEnum):
    """What a line stands for."""

    FIXED = "fixed"
    RECURRING = "recurring"
    USAGE = "usage"
    MINIMUM = "minimum"  # what is missing to the charge's minimum
    MAXIMUM = "maximum"  # what exceeds the charge's maximum, taken off
    DISCOUNT = "discount"  # what a coupon takes off the charge, below zero
    TRUE_UP = "true_up"  # what is missing to what was committed to
    OVERAGE = "overage"  # what exceeds a commitment costs more
    CREDIT = "credit"  # sells prepaid credit, or takes it back
    REFUND = "refund"  # gives money of an invoice back, whatever its lines are


# of no charge: they settle commitments
SETTLEMENTS: Final = frozenset({LineKind.TRUE_UP, LineKind.OVERAGE})


class BacktestStatus(StrEnum):
    """Where a backtest stands."""

    RUNNING = "running"
    DONE = "done"
    CANCELED = "canceled"
    FAILED = "failed"  # with its reason


BACKTEST_TRANSITIONS: Final[Mapping[BacktestStatus, frozenset[BacktestStatus]]] = {
    BacktestStatus.RUNNING: frozenset(BacktestStatus) - {BacktestStatus.RUNNING},
    BacktestStatus.DONE: frozenset(),
    BacktestStatus.CANCELED: frozenset(),
    BacktestStatus.FAILED: frozenset(),
}
MOST_BACKTEST_PERIODS: Final = 24


class BacktestOutcome(StrEnum):
    """What a version would have meant for a customer."""

    PENDING = "pending"
    WINNER = "winner"  # he would have paid less
    LOSER = "loser"  # he would have paid more
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"  # he had nothing of the plan in the periods looked at
    FAILED = "failed"  # with its reason


COMPARED: Final = (BacktestOutcome.WINNER, BacktestOutcome.LOSER, BacktestOutcome.UNCHANGED)


class BacktestInvalid(Invalid):
    """What was asked for cannot be tested."""

    reason = "backtest_invalid"


class InvoiceEmpty(Invalid):
    """A document without lines says nothing; it stays a draft."""

    reason = "invoice_empty"


class DocumentBeyondSense(Conflict):
    """What would be billed exceeds what the tenant holds possible: somebody is to look first."""

    reason = "document_beyond_sense"


class InvoiceImmutable(Conflict):
    """Nobody writes documents by hand: lines are differences, and issued ones never change."""

    reason = "invoice_immutable"


class InvoiceCanceled(Conflict):
    reason = "invoice_canceled"


class InvoiceHasPayments(Conflict):
    """Money was received for it; what was received cannot be un-asked for."""

    reason = "invoice_has_payments"


class CreditGivenBack(Conflict):
    """Credit that came back may be used already; what is wrong is corrected by the next difference."""

    reason = "credit_given_back"


class NotAnInvoice(Conflict):
    """A credit memo asks for no money: nothing of it can be paid, canceled or written off."""

    reason = "not_an_invoice"


class NotCollectable(Conflict):
    """A draft is not asked for yet; what is paid or canceled is not asked for any more."""

    reason = "invoice_not_collectable"


class SellsCredit(Conflict):
    """What the line asks is what was asked for the credit; nothing was computed."""

    reason = "line_sells_credit"


class GivesBack(Conflict):
    """What the line says is what somebody gave back; nothing was computed."""

    reason = "line_gives_back"


class CreditExceedsInvoice(Conflict):
    """Credit memos never give back more of an invoice than it asked for."""

    reason = "credit_exceeds_invoice"


class CreditExceedsLeft(Conflict):
    """A credit memo gives no more than it has left."""

    reason = "credit_exceeds_left"


class NotACreditMemo(Conflict):
    reason = "not_a_credit_memo"


class PreviewTooFar(Invalid):
    """Nobody knows the plans of so late, and a preview computes every period until then."""

    reason = "preview_too_far"


class PaymentNotPositive(Invalid):
    reason = "payment_not_positive"


class PaymentCurrency(Invalid):
    reason = "payment_currency"


class PaymentExceedsDue(Conflict):
    reason = "payment_exceeds_due"


def refuse_amount(amount: Money, *, document: str, currency: str) -> None:
    """Raise ``PaymentCurrency``, ``PaymentNotPositive`` or ``AmountTooFine`` if it cannot be paid.

    ``document`` is what the refusal calls the invoice, which is in ``currency``.
    """
    code = amount.currency.code
    if code != currency:
        raise PaymentCurrency(f"{document} is in {currency}, not in {code}.", field="currency")
    if not amount.amount > 0:
        raise PaymentNotPositive("A payment is more than zero.", field="amount")
    if not fits(amount.amount, currency):
        raise AmountTooFine(f"{amount.amount} has more decimals than {currency}.", field="amount")


def refuse_far_preview(cutoff: datetime, at: datetime) -> None:
    """Raise ``PreviewTooFar`` for a cutoff more than three years ahead."""
    if cutoff > at + LONGEST_PREVIEW:
        last = (at + LONGEST_PREVIEW).date().isoformat()
        raise PreviewTooFar(
            f"A preview looks at most three years ahead, to {last}.", field="cutoff"
        )


def amount_text(amount: Money) -> str:
    """Return an amount in plain digits, with the decimals of its currency: ``1234.50``."""
    return f"{round_money(amount.amount, amount.currency.code):f}"


@dataclass(frozen=True, slots=True)
class OpenCredit:
    """What a credit memo has left to give, in the currency at hand."""

    memo_id: UUID
    left: Decimal


def use_credit(due: Decimal, credit: Sequence[OpenCredit]) -> list[OpenCredit]:
    """Return how much of each memo pays what is due: the first memos whole, the last in part.

    The result adds up to ``due``, or to all the credit there is where that is less.
    """
    used = []
    for memo in credit:
        taken = min(memo.left, due)
        if taken <= 0:
            break
        used.append(OpenCredit(memo.memo_id, taken))
        due -= taken
    return used


def refuse_senseless(
    total: Decimal, currency: str, lines: int, *, largest: Decimal, most_lines: int
) -> None:
    """Raise ``DocumentBeyondSense`` for a document that no customer may be sent unseen.

    ``largest`` is the most that it may come to in its currency, either way.
    """
    if abs(total) > largest:
        raise DocumentBeyondSense(
            f"It would come to {plain(total)} {currency}, more than the {plain(largest)} of"
            " largest_document."
        )
    if lines > most_lines:
        raise DocumentBeyondSense(
            f"It would have {lines} lines, more than the {most_lines} of most_document_lines."
        )
