"""The books to check: modules whose ``RULES`` name what must not exist.

A rule takes a tenant's id, or None for all, and yields a sentence per row that breaks it.
"""

from typing import Final

BOOKS: Final = (
    "apps.metering.invariants",
    "apps.catalog.invariants",
    "apps.subscriptions.invariants",
    "apps.ledger.invariants",
    "apps.wallets.invariants",
    "apps.invoicing.invariants",
    "apps.payments.invariants",
    "apps.backoffice.invariants",
)
