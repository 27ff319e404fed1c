"""Comparing what the product did with what it should have done."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from uuid import UUID

from django.db.models import Sum

from apps.backoffice.books import breaches
from apps.backoffice.simulation.facts import Facts
from apps.backoffice.simulation.judging_credit import Account, judge_credit
from apps.backoffice.simulation.judging_disputes import in_disputes
from apps.backoffice.simulation.judging_tax import judge_tax
from apps.backoffice.simulation.oracle.disputes import moved_by_disputes
from apps.backoffice.simulation.oracle.lines import Key, lines_of
from apps.backoffice.simulation.oracle.timeline import life
from apps.catalog.models import Charge
from apps.core.models import Job
from apps.invoicing.domain import InvoiceStatus, LineKind
from apps.invoicing.models import Invoice, InvoiceLine
from apps.ledger.models import Posting
from apps.payments.domain import RefundStatus
from apps.payments.models import Payment, Refund, SandboxCharge, SandboxRefund
from apps.subscriptions.models import Subscription
from apps.tenants.domain import TaxRounding
from apps.tenants.models import Tenant

_SHOWN = 20  # differences of one kind; more would only hide the first ones
_REFUND_OVER = (RefundStatus.SUCCEEDED, RefundStatus.FAILED)
_NO_DOCUMENT = (InvoiceStatus.DRAFT, InvoiceStatus.CANCELED)


def differences(tenant_id: UUID, facts: Facts, until: datetime) -> Iterator[str]:
    """Yield what is not as it should be once everything due by ``until`` has been billed."""
    expected = lines_of(facts, until)
    yield from _first(_in_lines(tenant_id, expected))
    yield from _first(_in_ends(tenant_id, facts, until))
    credit = judge_credit(tenant_id, facts)
    yield from _first(iter(credit.differences))
    tenant = Tenant.objects.get(pk=tenant_id)
    tax = judge_tax(tenant_id, facts, per_line=tenant.tax_rounding == TaxRounding.PER_LINE)
    yield from _first(iter(tax.differences))
    for (customer, currency), owed in tax.owed.items():
        credit.accounts["customer", customer, currency] += owed
        credit.accounts["tax_payable", None, currency] -= owed
    yield from _first(in_disputes(tenant_id, facts))
    yield from _first(_in_books(tenant_id, facts, expected, credit.accounts))
    yield from _first(_left_undone(tenant_id))
    for breach in breaches(tenant_id):
        yield f"{breach.rule}: {breach.detail}"


def _first(found: Iterator[str]) -> Iterator[str]:
    for number, sentence in enumerate(found):
        if number == _SHOWN:
            yield "… and more of the same kind"
            return
        yield sentence


def billed_lines(tenant_id: UUID) -> dict[Key, Fraction]:
    """Return what every line of the tenant amounts to, over all documents that count."""
    charges = {
        charge_id: (plan, position, key)
        for charge_id, plan, position, key in Charge.objects.filter(tenant=tenant_id).values_list(
            "id", "phase__version__plan__key", "phase__position", "key"
        )
    }
    rows = (
        InvoiceLine.objects.filter(tenant=tenant_id, charge_id__isnull=False)
        .exclude(invoice__status__in=_NO_DOCUMENT)
        .values_list(
            "subscription_id", "charge_id", "kind", "period_start", "segment_start", "group"
        )
        .annotate(total=Sum("amount"))
        .order_by()
    )
    found = {
        Key(subscription, *charges[charge], kind, period, segment, group): Fraction(total)
        for subscription, charge, kind, period, segment, group, total in rows
    }
    return found | _settled_lines(tenant_id)


def _settled_lines(tenant_id: UUID) -> dict[Key, Fraction]:
    """Return the lines that settle commitments, which are of no charge."""
    rows = (
        InvoiceLine.objects.filter(tenant=tenant_id, kind__in=[LineKind.TRUE_UP, LineKind.OVERAGE])
        .exclude(invoice__status__in=_NO_DOCUMENT)
        .values_list("subscription_id", "kind", "period_start", "segment_start", "group")
        .annotate(total=Sum("amount"))
        .order_by()
    )
    return {
        Key(subscription, "", 0, "", kind, period, segment, group): Fraction(total)
        for subscription, kind, period, segment, group, total in rows
    }


def _in_lines(tenant_id: UUID, expected: Mapping[Key, Fraction]) -> Iterator[str]:
    billed = billed_lines(tenant_id)
    for key in sorted(expected.keys() | billed.keys()):
        should, did = expected.get(key, Fraction(0)), billed.get(key, Fraction(0))
        if should != did:
            yield f"line {key}: billed {float(did)}, should be {float(should)}"


def _in_ends(tenant_id: UUID, facts: Facts, until: datetime) -> Iterator[str]:
    """Yield subscriptions that end at another time than they should."""
    ends = dict(Subscription.objects.filter(tenant=tenant_id).values_list("id", "ends_at"))
    for fact in facts.subscriptions:
        found = life(fact, until)
        should = found.ends if found.spells else fact.started_at
        if ends[fact.id] != should:
            yield f"subscription {fact.id} ends at {ends[fact.id]}, should end at {should}"


def _in_books(
    tenant_id: UUID,
    facts: Facts,
    expected: Mapping[Key, Fraction],
    credit: Mapping[Account, Fraction],
) -> Iterator[str]:
    """Yield accounts whose balance is not what lines, credit, money and losses make it."""
    owners = {fact.id: (fact.customer, fact.currency) for fact in facts.subscriptions}
    should: dict[tuple[str, object, str], Fraction] = defaultdict(Fraction, credit.items())
    for key, amount in expected.items():
        customer, currency = owners[key.subscription]
        should["customer", customer, currency] += amount
        should["revenue", None, currency] -= amount
    for customer, currency, received in facts.transfers:
        should["customer", customer, currency] -= Fraction(received)
        should["cash_clearing", "external", currency] += Fraction(received)
    for customer, currency, taken in _taken_by_sandbox(tenant_id):
        should["customer", customer, currency] -= taken
        should["cash_clearing", "sandbox", currency] += taken
    for customer, currency, given in _given_by_sandbox(tenant_id):
        should["customer", customer, currency] += given
        should["cash_clearing", "sandbox", currency] -= given
    for customer, currency, given in _given_beyond(tenant_id):
        should["customer", customer, currency] -= given
        should["refunds", None, currency] += given
    for (kind, whose, currency), moved in moved_by_disputes(facts.disputes).items():
        should[kind, whose, currency] += moved
    for invoice in Invoice.objects.filter(tenant=tenant_id, status=InvoiceStatus.WRITTEN_OFF):
        lost = Fraction(invoice.open_amount.amount)
        should["customer", invoice.customer_id, invoice.currency] -= lost
        should["bad_debt", None, invoice.currency] += lost
    did = _balances(tenant_id)
    for account in sorted(should.keys() | did.keys(), key=str):
        if should[account] != did[account]:
            yield (f"account {account}: {float(did[account])}, should be {float(should[account])}")


def _taken_by_sandbox(tenant_id: UUID) -> Iterator[tuple[UUID, str, Fraction]]:
    """Yield what the provider itself says that it took, whatever the product made of it."""
    owners = {one.public_id: one.customer_id for one in Invoice.objects.filter(tenant=tenant_id)}
    for charge in SandboxCharge.objects.filter(tenant_id=tenant_id, outcome="succeeded"):
        yield owners[charge.invoice], charge.currency, Fraction(charge.amount)


def _given_by_sandbox(tenant_id: UUID) -> Iterator[tuple[UUID, str, Fraction]]:
    """Yield what the provider itself says that it gave back."""
    owners = {one.public_id: one.customer_id for one in Invoice.objects.filter(tenant=tenant_id)}
    charges = dict(
        SandboxCharge.objects.filter(tenant_id=tenant_id).values_list("idempotency_key", "invoice")
    )
    for refund in SandboxRefund.objects.filter(tenant_id=tenant_id, outcome="succeeded"):
        yield owners[charges[refund.charge]], refund.currency, Fraction(refund.amount)


def _given_beyond(tenant_id: UUID) -> Iterator[tuple[UUID, str, Fraction]]:
    """Yield what credit memos give back of invoices that were right; but the price of credit."""
    rows = InvoiceLine.objects.filter(
        tenant=tenant_id, kind=LineKind.REFUND, invoice__status=InvoiceStatus.ISSUED
    ).exclude(invoice__sells_credit=True)
    for customer, currency, amount in rows.values_list(
        "invoice__customer_id", "currency", "amount"
    ):
        yield customer, currency, -Fraction(amount)


def _balances(tenant_id: UUID) -> dict[tuple[str, object, str], Fraction]:
    """Return the balances of the books; what a customer owes and is owed is one."""
    found: dict[tuple[str, object, str], Fraction] = defaultdict(Fraction)
    rows = (
        Posting.objects.filter(tenant_id=tenant_id)
        .values_list(
            "account__kind", "account__customer_id", "account__provider", "account__currency"
        )
        .annotate(total=Sum("amount"))
        .order_by()
    )
    for kind, customer, provider, currency, total in rows:
        name = "customer" if customer else kind
        found[name, customer or provider, currency] += Fraction(total)
    return found


def _left_undone(tenant_id: UUID) -> Iterator[str]:
    for job in Job.objects.filter(tenant_id=tenant_id).exclude(state=Job.State.DONE):
        yield f"job {job.name} is {job.state}: {job.reason}"
    for payment in Payment.objects.filter(tenant=tenant_id, status__in=("sent", "unknown")):
        yield f"{payment.public_id} is {payment.status}"
    for refund in Refund.objects.filter(tenant=tenant_id).exclude(status__in=_REFUND_OVER):
        yield f"{refund.public_id} is {refund.status}"
    for draft in Invoice.objects.filter(tenant=tenant_id, status=InvoiceStatus.DRAFT):
        yield f"{draft.public_id} is still a draft"
