"""The accounts, what each business fact posts to them, and the entry that results. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from msgspec import Struct

from apps.core.errors import Conflict, NotFound
from apps.core.money import EXACT


class AccountKind(StrEnum):
    """Where money stands."""

    RECEIVABLE = "receivable"  # per customer: what he owes
    CUSTOMER_BALANCE = "customer_balance"  # per customer: what we owe him
    REVENUE = "revenue"
    DEFERRED_REVENUE = "deferred_revenue"
    TAX_PAYABLE = "tax_payable"
    CASH_CLEARING = "cash_clearing"  # per provider
    CREDIT_LIABILITY = "credit_liability"
    PROMOTIONAL_EXPENSE = "promotional_expense"
    BREAKAGE = "breakage"
    BAD_DEBT = "bad_debt"
    REFUNDS = "refunds"  # given back beyond what was billed wrongly: it lowers revenue
    DISPUTES = "disputes"  # what providers have withdrawn until a dispute is decided
    PROVIDER_FEES = "provider_fees"


PER_CUSTOMER: Final = frozenset({AccountKind.RECEIVABLE, AccountKind.CUSTOMER_BALANCE})
PER_PROVIDER: Final = frozenset({AccountKind.CASH_CLEARING})


class FactKind(StrEnum):
    """What can happen that the books must know of."""

    INVOICE_ISSUED = "invoice_issued"
    INVOICE_CANCELED = "invoice_canceled"
    INVOICE_WRITTEN_OFF = "invoice_written_off"
    INVOICE_REINSTATED = "invoice_reinstated"  # a written-off invoice is collected after all
    CREDIT_MEMO_ISSUED = "credit_memo_issued"
    BALANCE_APPLIED = "balance_applied"  # customer balance pays part of an invoice
    BALANCE_RELEASED = "balance_released"  # … and comes back when that invoice is canceled
    PAYMENT_SETTLED = "payment_settled"
    CREDIT_ACTIVATED = "credit_activated"  # credit that was sold can be used
    CREDIT_BURNED = "credit_burned"  # credit was used for what no invoice asks for
    CREDIT_APPLIED = "credit_applied"  # credit pays lines of an invoice
    CREDIT_RETURNED = "credit_returned"  # … and comes back when that invoice is canceled
    CREDIT_EXPIRED = "credit_expired"
    CREDIT_VOIDED = "credit_voided"  # taken back without giving money for it
    CREDIT_REFUNDED = "credit_refunded"  # taken back; its money goes back by a credit memo
    USAGE_SETTLED = "usage_settled"  # an invoice asks for usage that credit has paid before
    USAGE_UNSETTLED = "usage_unsettled"  # … until that invoice is canceled
    REFUND_SETTLED = "refund_settled"  # what we owed the customer was paid back to him
    CREDIT_CLAWED_BACK = "credit_clawed_back"  # the money for credit goes back, and so does credit
    CREDIT_RECOVERED = "credit_recovered"  # refunded credit whose money had gone back before
    DISPUTE_OPENED = "dispute_opened"  # a provider has withdrawn money that had come in
    DISPUTE_WON = "dispute_won"  # … and brings it back
    DISPUTE_LOST = "dispute_lost"  # … and keeps it
    CREDIT_DISPUTED = "credit_disputed"  # credit whose money is disputed is taken
    CREDIT_REINSTATED = "credit_reinstated"  # … and given back
    CREDIT_FORFEITED = "credit_forfeited"  # … and gone: so much less is lost


class Amount(StrEnum):
    """The amounts a fact brings with it; never negative but where it is said, and a net or a tax below the other."""

    TOTAL = "total"  # net + tax
    NET = "net"  # subtotal − discount
    TAX = "tax"
    DUE = "due"  # what is still open
    MOVED = "moved"  # what changes its place: applied, released; below zero where less is settled
    RECEIVED = "received"  # allocated + unapplied
    ALLOCATED = "allocated"  # paid an invoice
    UNAPPLIED = "unapplied"  # paid more than was due, and is owed to the customer
    CREDIT_SOLD = "credit_sold"  # the part of a document's net that sells prepaid credit
    PAID = "paid"  # worth of credit that was sold; below zero where what was lent is paid back
    PROMOTIONAL = "promotional"  # worth of credit that was given
    USED = "used"  # paid + promotional
    DISCOUNT = "discount"  # what credit pays beyond what it cost; below zero: it cost more
    GIVEN_BACK = "given_back"  # the part of a memo's net that corrects nothing: goodwill
    PAID_BACK = "paid_back"  # money that left
    LOST = "lost"  # money goes back for credit that is used up
    TAKEN_BACK = "taken_back"  # paid + lost, or paid + kept
    DISPUTED = "disputed"  # lost + unapplied, once it is decided
    FEE = "fee"  # what a provider asks for a dispute
    WITHDRAWN = "withdrawn"  # disputed + fee
    KEPT = (
        "kept"  # disputed credit that cannot be given back; below zero: what is given is worth more
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """One leg of a fact's entry: ``sign`` +1 debits, -1 credits the account."""

    account: AccountKind
    sign: int
    amount: Amount


def _debit(account: AccountKind, amount: Amount) -> Rule:
    return Rule(account, 1, amount)


def _credit(account: AccountKind, amount: Amount) -> Rule:
    return Rule(account, -1, amount)


POSTING_RULES: Final[Mapping[FactKind, tuple[Rule, ...]]] = MappingProxyType(
    {
        FactKind.INVOICE_ISSUED: (
            _debit(AccountKind.RECEIVABLE, Amount.TOTAL),
            _credit(AccountKind.REVENUE, Amount.NET),
            # nothing is earned by selling credit, and nothing owed for it until it is paid
            _credit(AccountKind.DEFERRED_REVENUE, Amount.CREDIT_SOLD),
            _credit(AccountKind.TAX_PAYABLE, Amount.TAX),
        ),
        FactKind.CREDIT_MEMO_ISSUED: (
            _debit(AccountKind.REVENUE, Amount.NET),
            _debit(AccountKind.DEFERRED_REVENUE, Amount.CREDIT_SOLD),
            _debit(AccountKind.REFUNDS, Amount.GIVEN_BACK),
            _debit(AccountKind.TAX_PAYABLE, Amount.TAX),
            _credit(AccountKind.CUSTOMER_BALANCE, Amount.TOTAL),
        ),
        FactKind.BALANCE_APPLIED: (
            _debit(AccountKind.CUSTOMER_BALANCE, Amount.MOVED),
            _credit(AccountKind.RECEIVABLE, Amount.MOVED),
        ),
        FactKind.INVOICE_WRITTEN_OFF: (
            _debit(AccountKind.BAD_DEBT, Amount.DUE),
            _credit(AccountKind.RECEIVABLE, Amount.DUE),
        ),
        FactKind.PAYMENT_SETTLED: (
            _debit(AccountKind.CASH_CLEARING, Amount.RECEIVED),
            _credit(AccountKind.RECEIVABLE, Amount.ALLOCATED),
            _credit(AccountKind.CUSTOMER_BALANCE, Amount.UNAPPLIED),
        ),
        FactKind.REFUND_SETTLED: (
            _debit(AccountKind.CUSTOMER_BALANCE, Amount.PAID_BACK),
            _credit(AccountKind.CASH_CLEARING, Amount.PAID_BACK),
        ),
        FactKind.CREDIT_ACTIVATED: (
            _debit(AccountKind.DEFERRED_REVENUE, Amount.PAID),
            _credit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
        ),
        FactKind.CREDIT_BURNED: (
            _debit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
            _debit(AccountKind.PROMOTIONAL_EXPENSE, Amount.PROMOTIONAL),
            _credit(AccountKind.REVENUE, Amount.USED),
        ),
        FactKind.CREDIT_APPLIED: (
            _debit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
            _debit(AccountKind.PROMOTIONAL_EXPENSE, Amount.PROMOTIONAL),
            _debit(AccountKind.REVENUE, Amount.DISCOUNT),
            _credit(AccountKind.RECEIVABLE, Amount.MOVED),
        ),
        FactKind.CREDIT_RETURNED: (
            _debit(AccountKind.RECEIVABLE, Amount.MOVED),
            _credit(AccountKind.REVENUE, Amount.DISCOUNT),
            _credit(AccountKind.PROMOTIONAL_EXPENSE, Amount.PROMOTIONAL),
            _credit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
        ),
        FactKind.CREDIT_EXPIRED: (
            _debit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
            _credit(AccountKind.BREAKAGE, Amount.PAID),
        ),
        FactKind.CREDIT_VOIDED: (
            _debit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
            _credit(AccountKind.BREAKAGE, Amount.PAID),
        ),
        FactKind.CREDIT_REFUNDED: (
            _debit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
            _credit(AccountKind.DEFERRED_REVENUE, Amount.PAID),
        ),
        FactKind.CREDIT_CLAWED_BACK: (
            _debit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
            _debit(AccountKind.REFUNDS, Amount.LOST),
            _credit(AccountKind.DEFERRED_REVENUE, Amount.TAKEN_BACK),
        ),
        FactKind.CREDIT_RECOVERED: (  # it was lost, used up, and came back: so much less is lost
            _debit(AccountKind.DEFERRED_REVENUE, Amount.PAID),
            _credit(AccountKind.REFUNDS, Amount.PAID),
        ),
        FactKind.DISPUTE_OPENED: (
            _debit(AccountKind.DISPUTES, Amount.DISPUTED),
            _debit(AccountKind.PROVIDER_FEES, Amount.FEE),
            _credit(AccountKind.CASH_CLEARING, Amount.WITHDRAWN),
        ),
        FactKind.DISPUTE_WON: (
            _debit(AccountKind.CASH_CLEARING, Amount.DISPUTED),
            _credit(AccountKind.DISPUTES, Amount.DISPUTED),
        ),
        FactKind.DISPUTE_LOST: (
            _debit(AccountKind.BAD_DEBT, Amount.LOST),
            # what he had paid too much, and has taken back himself
            _debit(AccountKind.CUSTOMER_BALANCE, Amount.UNAPPLIED),
            _credit(AccountKind.DISPUTES, Amount.DISPUTED),
        ),
        FactKind.CREDIT_DISPUTED: (
            _debit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
            _credit(AccountKind.DISPUTES, Amount.PAID),
        ),
        FactKind.CREDIT_REINSTATED: (
            _debit(AccountKind.DISPUTES, Amount.TAKEN_BACK),
            _credit(AccountKind.CREDIT_LIABILITY, Amount.PAID),
            _credit(AccountKind.BREAKAGE, Amount.KEPT),
        ),
        FactKind.CREDIT_FORFEITED: (
            _debit(AccountKind.DISPUTES, Amount.PAID),
            _credit(AccountKind.BAD_DEBT, Amount.PAID),
        ),
        FactKind.USAGE_SETTLED: (
            _debit(AccountKind.REVENUE, Amount.MOVED),
            _credit(AccountKind.RECEIVABLE, Amount.MOVED),
        ),
    }
)
"""What each fact posts. The facts not in it undo one that is: see ``UNDOES``."""

UNDOES: Final[Mapping[FactKind, FactKind]] = MappingProxyType(
    {
        FactKind.INVOICE_CANCELED: FactKind.INVOICE_ISSUED,
        FactKind.INVOICE_REINSTATED: FactKind.INVOICE_WRITTEN_OFF,
        FactKind.BALANCE_RELEASED: FactKind.BALANCE_APPLIED,
        FactKind.USAGE_UNSETTLED: FactKind.USAGE_SETTLED,
    }
)
"""Facts that post the exact negation of another fact's entry."""


class NothingToReverse(NotFound):
    reason = "nothing_to_reverse"


class FactPostedDifferently(Conflict):
    reason = "fact_posted_differently"


class AccountRef(Struct, frozen=True):
    """An account by what it is; the row is made when something is first posted to it."""

    kind: AccountKind
    currency: str
    customer_id: UUID | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        """Refuse an account without its party, or with somebody else's."""
        if (self.customer_id is not None) != (self.kind in PER_CUSTOMER):
            raise ValueError(f"{self.kind}: a customer belongs to {sorted(PER_CUSTOMER)}, always")
        if (self.provider is not None) != (self.kind in PER_PROVIDER):
            raise ValueError(f"{self.kind}: a provider belongs to {sorted(PER_PROVIDER)}, always")


class Leg(Struct, frozen=True):
    """One posting to be made: positive debits the account, negative credits it."""

    account: AccountRef
    amount: Decimal


class NewEntry(Struct, frozen=True):
    """A journal entry to be posted. Its legs cancel out in every currency.

    Without legs nothing has moved, and there will be no entry.
    """

    tenant_id: UUID
    kind: FactKind
    source_key: str  # the identity of the fact, the same whenever it is told again
    effective_at: datetime
    legs: tuple[Leg, ...]
    reverses: UUID | None = None

    def __post_init__(self) -> None:
        """Refuse legs that do not balance: whoever made them has a defect."""
        sums: dict[str, Decimal] = {}
        for leg in self.legs:
            if not leg.amount.is_finite() or not leg.amount:
                raise ValueError(f"{self.kind} {self.source_key}: a leg of {leg.amount}")
            currency = leg.account.currency
            sums[currency] = EXACT.add(sums.get(currency, Decimal(0)), leg.amount)
        if any(sums.values()):
            raise ValueError(f"{self.kind} {self.source_key} does not balance: {sums}")


class Fact(Struct, frozen=True):
    """Something that happened to one customer, in one currency, and the amounts of it."""

    kind: FactKind
    tenant_id: UUID
    source_key: str
    effective_at: datetime
    currency: str
    customer_id: UUID
    amounts: Mapping[Amount, Decimal]
    provider: str | None = None


def entry_for(fact: Fact) -> NewEntry:
    """Return what the fact posts by ``POSTING_RULES``; amounts of zero, or not given, post nothing.

    Raises ``ValueError`` if the fact brings an amount that its rules do not use, or if the entry
    would not balance.
    """
    rules = POSTING_RULES[fact.kind]
    stray = set(fact.amounts) - {rule.amount for rule in rules}
    if stray:
        raise ValueError(f"{fact.kind} has no {', '.join(sorted(stray))}")
    legs = []
    for rule in rules:
        amount = fact.amounts.get(rule.amount, Decimal(0))
        if amount:
            legs.append(
                Leg(_account(rule.account, fact), EXACT.multiply(amount, Decimal(rule.sign)))
            )
    return NewEntry(fact.tenant_id, fact.kind, fact.source_key, fact.effective_at, tuple(legs))


def _account(kind: AccountKind, fact: Fact) -> AccountRef:
    return AccountRef(
        kind,
        fact.currency,
        customer_id=fact.customer_id if kind in PER_CUSTOMER else None,
        provider=fact.provider if kind in PER_PROVIDER else None,
    )
