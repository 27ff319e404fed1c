"""Immutable documents. Once issued, nothing of them changes but what has been paid (by trigger)."""

from typing import ClassVar, Final
from uuid import UUID

from django.db import models
from djmoney.models.fields import MoneyField
from moneyed import Money

from apps.core.states import Stateful
from apps.customers.models import Customer
from apps.invoicing.domain import COLLECTABLE, DocumentKind, InvoiceStatus, LineKind
from apps.invoicing.models.backtests import Backtest as Backtest
from apps.invoicing.models.backtests import BacktestCustomer as BacktestCustomer
from apps.invoicing.taxing import TaxOfRate, taxes_by_rate
from apps.taxes.models import TaxRate
from apps.tenants.domain import TaxRounding
from apps.tenants.models import Tenant, TenantOwned


def _amount() -> MoneyField:
    return MoneyField(
        max_digits=38, decimal_places=12, currency_field_name="currency", default_currency=None
    )


# what an invoice does not ask for any more
_PAID: Final = models.F("amount_paid") + models.F("balance_applied") + models.F("credit_applied")


class Invoice(Stateful, TenantOwned):
    """An invoice or a credit memo: a set of differences between what should and what did exist.

    A credit memo has the same columns with a negative total, in a number series of its own. It
    stays issued: how much of it is left is its total less what came back as prepaid credit and what
    was applied to invoices.
    """

    ID_PREFIX = "inv"

    status = models.CharField(
        max_length=20, choices=[(s, s) for s in InvoiceStatus], default=InvoiceStatus.DRAFT
    )
    kind = models.CharField(max_length=20, choices=[(k, k) for k in DocumentKind])
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices")
    currency = models.CharField(max_length=3)
    series = models.CharField(max_length=20, blank=True, default="")
    number = models.BigIntegerField(null=True)  # given as the last step of issuing
    # the instant up to which it bills, exclusive; and the time its lines span
    cutoff_at = models.DateTimeField()
    period_start = models.DateTimeField(null=True)
    period_end = models.DateTimeField(null=True)
    # subtotal = Σ lines; total = subtotal − discount + tax; due = total − credit − balance − paid
    subtotal = _amount()
    discount = _amount()
    tax = _amount()
    total = _amount()
    balance_applied = _amount()  # customer balance used when issued
    amount_paid = _amount()
    # prepaid credit that paid lines of it, when issued or event by event before; less what came back
    # as credit instead of money
    credit_applied = models.DecimalField(max_digits=38, decimal_places=12, default=0)
    # it sells prepaid credit and nothing else; it is issued in the transaction that makes it
    sells_credit = models.BooleanField(default=False)
    # of a credit memo that gives money of one invoice back, made and issued at once: that invoice
    credits = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="credited_by"
    )
    # what the documents show, as it was when issued
    seller = models.JSONField(default=dict)
    buyer = models.JSONField(default=dict)
    zone = models.CharField(max_length=64)
    # which events its usage lines have seen (pg_snapshot), so that explain can replay them
    usage_snapshot = models.TextField(blank=True, default="")
    # what asked for it, so that asking again finds it; null: a run for everybody due
    request_id = models.UUIDField(null=True)
    created_at = models.DateTimeField()
    issue_after = models.DateTimeField(null=True)  # a draft in its grace period; null: by hand
    issued_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)  # paid, written off or canceled
    pdf_sha256 = models.CharField(max_length=64, blank=True, default="")

    objects: ClassVar[models.Manager["Invoice"]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "series", "number"), name="invoice_number_once"
            ),
            models.UniqueConstraint(
                fields=("customer", "currency"),
                condition=models.Q(status="draft", sells_credit=False, credits__isnull=True),
                name="one_draft_per_customer",
            ),
            models.CheckConstraint(
                condition=models.Q(credits__isnull=True) | models.Q(kind="credit_memo"),
                name="only_memos_credit",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=[s.value for s in InvoiceStatus]),
                name="invoice_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status="draft", number__isnull=True, issued_at__isnull=True, due_at__isnull=True
                )
                | (
                    ~models.Q(status="draft")
                    & models.Q(number__isnull=False, issued_at__isnull=False, due_at__isnull=False)
                ),
                name="invoice_numbered_when_issued",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    total=models.F("subtotal") - models.F("discount") + models.F("tax")
                ),
                name="invoice_total_adds_up",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="invoice", total__gte=0)
                | models.Q(kind="credit_memo", total__lt=0),
                name="invoice_total_sign",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    kind="credit_memo",
                    amount_paid=0,
                    balance_applied=0,
                    credit_applied__lte=0,
                    credit_applied__gte=models.F("total"),
                )
                | models.Q(
                    kind="invoice",
                    amount_paid__gte=0,
                    balance_applied__gte=0,
                    total__gte=_PAID,
                ),
                name="invoice_paid_within_total",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="credit_memo", status__in=["draft", "issued"])
                | models.Q(
                    kind="invoice", status__in=["draft", "issued", "canceled"], amount_paid=0
                )
                | models.Q(
                    kind="invoice",
                    status="paid",
                    total=_PAID,
                )
                | models.Q(
                    kind="invoice",
                    status__in=["partially_paid", "overdue", "written_off"],
                    total__gt=_PAID,
                ),
                name="invoice_status_agrees_with_paid",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["paid", "written_off", "canceled"], closed_at__isnull=False
                )
                | (
                    ~models.Q(status__in=["paid", "written_off", "canceled"])
                    & models.Q(closed_at__isnull=True)
                ),
                name="invoice_closed_when_over",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="invoices_newest"),
            models.Index(fields=("customer", "-id"), name="invoices_by_customer"),
            models.Index(
                fields=("due_at",),
                condition=models.Q(kind="invoice", status__in=["issued", "partially_paid"]),
                name="invoices_to_become_overdue",
            ),
            models.Index(
                fields=("customer",),
                condition=models.Q(kind="credit_memo", status="issued"),
                name="memos_by_customer",
            ),
            models.Index(
                fields=("issue_after",),
                condition=models.Q(status="draft", issue_after__isnull=False),
                name="drafts_to_issue",
            ),
        )

    def __str__(self) -> str:
        return self.display_number or f"draft {self.public_id}"

    @property
    def display_number(self) -> str:
        """The number as printed, such as INV-000042; empty for drafts."""
        return f"{self.series}-{self.number:06d}" if self.number is not None else ""

    @property
    def open_amount(self) -> Money:
        """What nobody has paid of it yet; of a credit memo, nothing."""
        if self.kind == DocumentKind.CREDIT_MEMO:
            return Money(0, self.currency)
        left: Money = self.total - self.balance_applied - self.amount_paid
        left -= Money(self.credit_applied, self.currency)
        return left

    @property
    def taxes_shown(self) -> list[TaxOfRate]:
        """Its tax, rate by rate."""
        return taxes_by_rate(self.taxes.all(), self.currency)

    @property
    def amount_due(self) -> Money:
        """What is asked for: the open amount, until it is written off or canceled."""
        asked = self.status == InvoiceStatus.DRAFT or self.status in COLLECTABLE
        return self.open_amount if asked else Money(0, self.currency)


class InvoiceLine(TenantOwned):
    """One difference: what the key should amount to, less what earlier lines of it amount to.

    The key is (subscription, charge, kind, period start, segment start, group); ``sequence``
    counts the lines of a key over all documents, so two runs cannot both bill the same.

    A trigger of the statement, not a foreign key per line, sees to it that its document exists and
    is of the same tenant: the same guarantee at a fraction of the cost.
    """

    ID_PREFIX = "lin"

    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, related_name="+", db_constraint=False
    )
    invoice = models.ForeignKey(
        Invoice, on_delete=models.CASCADE, related_name="lines", db_constraint=False
    )
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, choices=[(k, k) for k in LineKind])
    # of every line but those that sell credit, which have the grant instead, and of refunds; what
    # settles a commitment is of no charge
    subscription_id = models.UUIDField(null=True)
    charge_id = models.UUIDField(null=True)
    grant_id = models.UUIDField(null=True)
    # the whole billing period, exclusive end; both are the same instant for fixed charges
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    # the part of it that the line bills: what people see as its dates
    service_start = models.DateTimeField()
    service_end = models.DateTimeField()
    segment_start = models.DateTimeField()
    group = models.CharField(max_length=500, blank=True, default="")
    sequence = models.PositiveIntegerField()
    corrects = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="corrections"
    )
    description = models.CharField(max_length=500)
    quantity = models.DecimalField(max_digits=38, decimal_places=12)
    unit = models.CharField(max_length=40, blank=True, default="")
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)
    # how the amount came about: invoicing.derivation says what is in it
    derivation = models.JSONField()
    # with what its tax is rounded, and the ids of its rates; null where it has none
    tax_scope_id = models.UUIDField(null=True)
    tax_rates = models.JSONField(null=True)

    class Meta:
        ordering = ("invoice", "position")
        constraints = (
            models.UniqueConstraint(
                fields=(
                    "subscription_id",
                    "charge_id",
                    "kind",
                    "period_start",
                    "segment_start",
                    "group",
                    "sequence",
                ),
                name="line_of_key_once",
                nulls_distinct=False,
            ),
            models.UniqueConstraint(fields=("invoice", "position"), name="line_position_once"),
            models.UniqueConstraint(fields=("grant_id", "sequence"), name="credit_sold_once"),
            models.CheckConstraint(
                condition=models.Q(
                    kind="credit",
                    grant_id__isnull=False,
                    subscription_id__isnull=True,
                    charge_id__isnull=True,
                )
                | models.Q(
                    kind="refund",
                    grant_id__isnull=True,
                    subscription_id__isnull=True,
                    charge_id__isnull=True,
                )
                | models.Q(
                    kind__in=["true_up", "overage"],
                    grant_id__isnull=True,
                    subscription_id__isnull=False,
                    charge_id__isnull=True,
                )
                | ~models.Q(kind__in=["credit", "refund", "true_up", "overage"])
                & models.Q(
                    grant_id__isnull=True,
                    subscription_id__isnull=False,
                    charge_id__isnull=False,
                ),
                name="line_is_of_a_charge_or_sells_credit",
            ),
            models.CheckConstraint(
                condition=models.Q(period_end__gte=models.F("period_start")),
                name="line_period_forward",
            ),
        )
        indexes = (models.Index(fields=("subscription_id", "period_end"), name="lines_by_period"),)

    def __str__(self) -> str:
        return self.description

    @property
    def taxed_by(self) -> list[UUID]:
        """The ids of its rates; none where it is not taxed."""
        return [UUID(one) for one in self.tax_rates or ()]


class InvoiceTax(TenantOwned):
    """The tax of a document at one rate, on what one scope has on it: see ``invoicing.taxing``.

    A check in the database: what was taxed before and now together has the tax that was shown
    before and is now. Written and changed while its document is a draft, as lines are.
    """

    ID_PREFIX = "itx"

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="taxes")
    scope_id = models.UUIDField()  # the document or the line that first billed what is taxed
    rate = models.ForeignKey(TaxRate, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    percentage = models.DecimalField(max_digits=9, decimal_places=6)
    rounding = models.CharField(max_length=10, choices=[(r, r) for r in TaxRounding])
    # the lines, less what pays them of credit that was taxed when it was bought
    taxable = models.DecimalField(max_digits=38, decimal_places=12)
    covered = models.DecimalField(max_digits=38, decimal_places=12, default=0)
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    taxable_before = models.DecimalField(max_digits=38, decimal_places=12)
    amount_before = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)

    class Meta:
        ordering = ("invoice", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("invoice", "scope_id", "rate"), name="tax_of_scope_once"
            ),
        )
        indexes = (models.Index(fields=("scope_id",), name="taxes_by_scope"),)

    def __str__(self) -> str:
        return self.name


class NumberSequence(TenantOwned):
    """The last number given in a series; its row lock makes the series gapless."""

    ID_PREFIX = "seq"

    series = models.CharField(max_length=20)
    last_number = models.BigIntegerField(default=0)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "series"), name="one_sequence_per_series"),
        )

    def __str__(self) -> str:
        return f"{self.series} {self.last_number}"


class BalanceApplication(TenantOwned):
    """Money of a credit memo that paid part of an invoice. Append-only.

    It counts as long as the invoice is not canceled; then the money is the customer's again.
    """

    ID_PREFIX = "bap"

    credit_memo = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="applied_to")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="applied_from")
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)
    applied_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="applied_positive"),
            models.UniqueConstraint(
                fields=("credit_memo", "invoice"), name="memo_applied_once_per_invoice"
            ),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class CreditPaidOut(TenantOwned):
    """Money of a credit memo that is paid back, or about to be. Append-only but for its release.

    It counts until it is released, which it is if the refund failed: then the money is on the
    customer's balance again.
    """

    ID_PREFIX = "cpo"

    credit_memo = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="paid_out")
    refund_id = models.UUIDField()
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)
    taken_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="paid_out_positive"),
            models.UniqueConstraint(
                fields=("refund_id", "credit_memo"), name="memo_paid_out_once_per_refund"
            ),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class IssuedLogo(TenantOwned):
    """A logo that issued documents show, kept once; their ``seller`` names it by its hash."""

    ID_PREFIX = "lgo"

    sha256 = models.CharField(max_length=64)
    image = models.TextField()  # data:image/png;base64,…

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "sha256"), name="issued_logo_once"),
        )

    def __str__(self) -> str:
        return self.sha256


class IssuedPdf(models.Model):
    """The PDF of an issued document, as it was first made; every later reader gets the same."""

    invoice = models.OneToOneField(
        Invoice, primary_key=True, on_delete=models.PROTECT, related_name="pdf"
    )
    tenant_id = models.UUIDField()
    content = models.BinaryField()
    made_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.invoice_id}.pdf"


class ParkedCustomer(models.Model):
    """A customer whose billing run failed: why, so that it stops nobody else and gets seen."""

    customer = models.OneToOneField(
        Customer, primary_key=True, on_delete=models.PROTECT, related_name="parked"
    )
    tenant_id = models.UUIDField()
    reason = models.TextField()
    cutoff_at = models.DateTimeField()
    parked_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=1)

    def __str__(self) -> str:
        return self.reason


class AccrualLook(models.Model):
    """Up to which change of his usage a customer was looked at, whether it reaches a threshold.

    Without a mark he is to be looked at: a bill has taken up a change before that was done.
    """

    customer = models.OneToOneField(
        Customer, primary_key=True, on_delete=models.PROTECT, related_name="accrual_look"
    )
    tenant_id = models.UUIDField()
    mark = models.BigIntegerField(null=True)  # that of metering.ChangedUsage; 0 for none

    def __str__(self) -> str:
        return f"{self.customer_id} up to {self.mark}" if self.mark else str(self.customer_id)
