"""Double-entry truth. Append-only; balanced per currency by the database at commit."""

from django.db import models

from apps.ledger.domain import AccountKind
from apps.tenants.models import TenantOwned


class LedgerAccount(TenantOwned):
    """One account: a kind, a currency, and whose it is where the kind is kept per party."""

    ID_PREFIX = "acc"

    kind = models.CharField(max_length=30, choices=[(k, k) for k in AccountKind])
    currency = models.CharField(max_length=3)
    customer_id = models.UUIDField(null=True)  # receivable, customer balance
    provider = models.CharField(max_length=40, null=True)  # cash clearing

    class Meta:
        ordering = ("kind", "currency")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "kind", "currency", "customer_id", "provider"),
                name="ledger_account_once",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.currency}"


class JournalEntry(TenantOwned):
    """One business fact, posted once: ``source_key`` is the fact's own identity."""

    ID_PREFIX = "jrn"

    kind = models.CharField(max_length=40)
    source_key = models.CharField(max_length=120)
    effective_at = models.DateTimeField()  # when it happened; may lie before posting
    posted_at = models.DateTimeField()
    reverses = models.OneToOneField(
        "self", null=True, on_delete=models.PROTECT, related_name="reversed_by"
    )

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "kind", "source_key"), name="journal_fact_posted_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.source_key}"


class Posting(models.Model):
    """One leg of a journal entry: positive is debit, negative is credit."""

    id = models.BigAutoField(primary_key=True)
    tenant_id = models.UUIDField()
    entry = models.ForeignKey(JournalEntry, on_delete=models.PROTECT, related_name="postings")
    account = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="postings")
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=~models.Q(amount=0), name="posting_moves_something"),
        )
        indexes = (models.Index(fields=("account", "id"), name="postings_by_account"),)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"
