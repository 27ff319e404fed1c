"""The accounts and what each business fact posts to them."""

from enum import StrEnum


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
    REFUNDS = "refunds"
