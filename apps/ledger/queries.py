"""Reading the books."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import DecimalField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from apps.core.money import EXACT
from apps.ledger.domain import AccountKind, AccountRef, FactKind
from apps.ledger.models import JournalEntry, LedgerAccount, Posting

_TRIAL_BALANCE: Final = """
SELECT a.id, a.kind, a.currency, a.customer_id, a.provider,
       sum(p.amount) FILTER (WHERE p.amount > 0), -sum(p.amount) FILTER (WHERE p.amount < 0)
FROM ledger_ledgeraccount a
JOIN ledger_posting p ON p.account_id = a.id
WHERE a.tenant_id = %(tenant)s
  AND (%(at)s::timestamptz IS NULL OR EXISTS (
       SELECT FROM ledger_journalentry e WHERE e.id = p.entry_id AND e.effective_at <= %(at)s))
GROUP BY a.id
ORDER BY a.kind, a.currency, a.provider, a.customer_id
"""
_PARTY_BALANCES: Final = """
SELECT a.customer_id, a.provider, a.currency, sum(p.amount)
FROM ledger_ledgeraccount a JOIN ledger_posting p ON p.account_id = a.id
WHERE a.tenant_id = %(tenant)s AND a.kind = %(kind)s
  AND (%(customers)s::uuid[] IS NULL OR a.customer_id = ANY (%(customers)s))
GROUP BY a.id
"""


@dataclass(frozen=True, slots=True)
class AccountTotals:
    """What was debited and credited to an account, both positive, in its currency."""

    account_id: UUID
    account: AccountRef
    debit: Decimal
    credit: Decimal

    @property
    def balance(self) -> Decimal:
        """Debit less credit: negative where we owe, or have earned."""
        return EXACT.subtract(self.debit, self.credit)


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """What was debited and credited to all accounts of a currency; equal, or the books are off."""

    currency: str
    debit: Decimal
    credit: Decimal


def trial_balance(tenant_id: UUID, at: datetime | None = None) -> list[AccountTotals]:
    """Return every account that was posted to, ordered by kind, currency and party.

    With ``at``, only facts effective at that instant or before. Per currency, debits equal credits.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TRIAL_BALANCE, {"tenant": tenant_id, "at": at})
        return [
            AccountTotals(
                account_id,
                AccountRef(AccountKind(kind), currency, customer_id, provider),
                debit or Decimal(0),
                credit or Decimal(0),
            )
            for account_id, kind, currency, customer_id, provider, debit, credit in cursor.fetchall()
        ]


def trial_totals(accounts: Iterable[AccountTotals]) -> list[CurrencyTotals]:
    """Return what was debited and credited in each currency, in the order of their codes."""
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for one in accounts:
        debit, credit = sums.get(one.account.currency, (Decimal(0), Decimal(0)))
        sums[one.account.currency] = (
            EXACT.add(debit, one.debit),
            EXACT.add(credit, one.credit),
        )
    return [CurrencyTotals(currency, *sums[currency]) for currency in sorted(sums)]


def account_balance(tenant_id: UUID, account: AccountRef) -> Decimal:
    """Return the sum of an account's postings (debit positive), zero if it has none."""
    total = Posting.objects.filter(
        account__tenant_id=tenant_id,
        account__kind=account.kind,
        account__currency=account.currency,
        account__customer_id=account.customer_id,
        account__provider=account.provider,
    ).aggregate(total=Sum("amount"))["total"]
    return total or Decimal(0)


def customer_balances(
    tenant_id: UUID, kind: AccountKind, customer_ids: Iterable[UUID] | None = None
) -> dict[tuple[UUID, str], Decimal]:
    """Return (customer, currency) -> balance of the accounts of a per-customer kind.

    Debit positive: a receivable is what the customer owes, a customer balance is negative while we
    owe him. One query, for all customers or those given.
    """
    wanted = None if customer_ids is None else list(customer_ids)
    return {
        (customer_id, currency): total
        for customer_id, _, currency, total in _party_balances(tenant_id, kind, wanted)
    }


def provider_balances(tenant_id: UUID) -> dict[tuple[str, str], Decimal]:
    """Return (provider, currency) -> what has come in by it and is not yet accounted for."""
    return {
        (provider, currency): total
        for _, provider, currency, total in _party_balances(
            tenant_id, AccountKind.CASH_CLEARING, None
        )
    }


def _party_balances(
    tenant_id: UUID, kind: AccountKind, customer_ids: list[UUID] | None
) -> list[tuple[UUID, str, str, Decimal]]:
    with connection.cursor() as cursor:
        cursor.execute(
            _PARTY_BALANCES, {"tenant": tenant_id, "kind": kind.value, "customers": customer_ids}
        )
        rows: list[tuple[UUID, str, str, Decimal]] = cursor.fetchall()
    return rows


def entry_of(tenant_id: UUID, kind: FactKind, source_key: str) -> JournalEntry | None:
    """Return the entry of a fact, if it is in the books."""
    return JournalEntry.objects.filter(
        tenant_id=tenant_id, kind=kind, source_key=source_key
    ).first()


def accounts_of(tenant_id: UUID) -> QuerySet[LedgerAccount]:
    """Return the tenant's accounts, each with its ``balance``, debit positive."""
    sums = (
        Posting.objects.filter(account=OuterRef("pk"))
        .order_by()
        .values("account")
        .annotate(total=Sum("amount"))
        .values("total")
    )
    money = DecimalField(max_digits=38, decimal_places=12)
    return LedgerAccount.objects.filter(tenant_id=tenant_id).annotate(
        balance=Coalesce(Subquery(sums, output_field=money), Decimal(0), output_field=money)
    )


def entries_of(tenant_id: UUID) -> QuerySet[JournalEntry]:
    """Return the tenant's journal, with postings and their accounts."""
    return JournalEntry.objects.filter(tenant_id=tenant_id).prefetch_related("postings__account")
