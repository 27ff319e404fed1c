"""Double-entry truth. Append-only; balanced per currency by the database at commit."""

from django.db import models

from apps.ledger.domain import AccountKind, FactKind
from apps.tenants.models import TenantOwned


class LedgerAccount(TenantOwned):
    """One account: a kind, a currency, and whose it is where the kind is kept per party."""

    ID_PREFIX = "acc"

    kind = models.CharField(max_length=30, choices=[(k.value, k.value) for k in AccountKind])
    currency = models.CharField(max_length=3)
    customer_id = models.UUIDField(null=True)  # of receivables and customer balances, only
    provider = models.CharField(max_length=40, null=True)  # of cash clearing, only

    class Meta:
        ordering = ("kind", "currency")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "kind", "currency", "customer_id", "provider"),
                name="ledger_account_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(
                    kind__in=["receivable", "customer_balance"], customer_id__isnull=False
                )
                | (
                    ~models.Q(kind__in=["receivable", "customer_balance"])
                    & models.Q(customer_id__isnull=True)
                ),
                name="ledger_account_customer",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="cash_clearing", provider__isnull=False)
                | (~models.Q(kind="cash_clearing") & models.Q(provider__isnull=True)),
                name="ledger_account_provider",
            ),
        )
        indexes = (
            models.Index(
                fields=("customer_id",),
                condition=models.Q(customer_id__isnull=False),
                name="ledger_accounts_by_customer",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.currency}"


class JournalEntry(TenantOwned):
    """One business fact, posted once: ``source_key`` is the fact's own identity.

    The table has one more column, ``written_xid``: postings are accepted only in the transaction
    that wrote the entry, numbered from 1 to ``legs``.
    """

    ID_PREFIX = "jrn"

    kind = models.CharField(max_length=40, choices=[(k.value, k.value) for k in FactKind])
    source_key = models.CharField(max_length=120)
    effective_at = models.DateTimeField()  # when it happened, on the customer's clock
    # when it was written, by the database's own clock: nobody can post into the past
    posted_at = models.DateTimeField(editable=False)
    legs = models.PositiveSmallIntegerField()
    reverses = models.OneToOneField(
        "self", null=True, on_delete=models.PROTECT, related_name="reversed_by"
    )

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "kind", "source_key"), name="journal_fact_posted_once"
            ),
            models.CheckConstraint(condition=models.Q(legs__gte=2), name="journal_has_two_sides"),
        )
        indexes = (models.Index(fields=("tenant", "-id"), name="journal_newest"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.source_key}"


class Posting(models.Model):
    """One leg of a journal entry: positive is debit, negative is credit.

    A trigger of the statement, not a foreign key, sees to it that entry and account exist, are of
    the same tenant and (the account) of the same currency. It is the same guarantee, since rows of
    either are never deleted, at a fraction of the cost when thousands are posted at once.
    """

    id = models.BigAutoField(primary_key=True)
    tenant_id = models.UUIDField()
    entry = models.ForeignKey(
        JournalEntry,
        on_delete=models.PROTECT,
        related_name="postings",
        db_constraint=False,
        db_index=False,
    )
    number = models.PositiveSmallIntegerField()  # from 1 to the entry's ``legs``
    account = models.ForeignKey(
        LedgerAccount,
        on_delete=models.PROTECT,
        related_name="postings",
        db_constraint=False,
        db_index=False,
    )
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)  # its account's

    class Meta:
        ordering = ("entry", "number")
        constraints = (
            models.UniqueConstraint(fields=("entry", "number"), name="posting_number_once"),
            models.CheckConstraint(condition=~models.Q(amount=0), name="posting_moves_something"),
        )
        # balances are sums over this index alone
        indexes = (
            models.Index(fields=("account",), include=("amount",), name="postings_by_account"),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"
