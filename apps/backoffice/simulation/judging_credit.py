"""Comparing prepaid credit with what it should be: logs, figures, and what the books make of it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from django.db.models import Q

from apps.backoffice.simulation.facts import Facts, GrantFact, TopOffFact, WalletFact
from apps.backoffice.simulation.judging_disputes import claims_of, given_back, reclaims_of
from apps.backoffice.simulation.offers import DECIMALS
from apps.backoffice.simulation.oracle.clawing import Clawing
from apps.backoffice.simulation.oracle.credit import Books, Entry, Purse
from apps.backoffice.simulation.oracle.savings import Bill, BillLine, Savings, Use
from apps.backoffice.simulation.oracle.usage import counted
from apps.catalog.models import Charge
from apps.invoicing.domain import DocumentKind, InvoiceStatus, LineKind
from apps.invoicing.models import Invoice, InvoiceLine
from apps.wallets.domain import GrantSource
from apps.wallets.models import CreditGrant, CreditTransaction, TopOffRule, Wallet

_USAGE: Final = (LineKind.USAGE, LineKind.MINIMUM, LineKind.MAXIMUM)
_CAP_DAYS: Final = timedelta(days=30)

Account = tuple[str, UUID | None, str]  # kind, whose, currency


@dataclass(slots=True)
class CreditVerdict:
    """What is wrong with credit, and what all of it comes to in the books."""

    differences: list[str] = field(default_factory=list)
    accounts: dict[Account, Fraction] = field(default_factory=lambda: defaultdict(Fraction))


def judge_credit(tenant_id: UUID, facts: Facts) -> CreditVerdict:
    """Live through every customer's credit again and compare."""
    verdict = CreditVerdict()
    of_customer: dict[UUID, list[WalletFact]] = defaultdict(list)
    for fact in facts.credit.wallets:
        of_customer[fact.customer].append(fact)
    bought = _bought(tenant_id)
    for customer, wallets in of_customer.items():
        books: dict[str, Books] = defaultdict(Books)
        purses = [Purse(one, _log(one.id), books[one.currency]) for one in wallets]
        bills = _bills(customer)
        clawing = Clawing(
            purses,
            claims_of(customer, facts),
            given_back(customer),
            list(reclaims_of(customer, facts)),
        )
        savings = Savings(
            facts.credit, purses, _uses(facts, customer), bills, bought, clawing=clawing
        )
        wrong = list(savings.differences(facts.stops))
        verdict.differences += [f"credit of {customer}: {one}" for one in wrong]
        if not wrong:
            for purse in purses:
                verdict.differences += _in_figures(purse)
                verdict.differences += _in_top_offs(purse, bought, facts, clawing)
        for bill in bills:
            if bill.sells is not None and bill.canceled_at is None:
                books[bill.currency].move(bill.total, debit="customer", credit="deferred_revenue")
        for currency, found in books.items():
            for kind, amount in found.accounts.items():
                whose = customer if kind == "customer" else None
                verdict.accounts[kind, whose, currency] += amount
    return verdict


def _log(wallet_id: UUID) -> list[Entry]:
    rows = CreditTransaction.objects.filter(wallet=wallet_id).order_by("number")
    return [
        Entry(
            kind,
            grant,
            hold,
            invoice,
            line,
            source,
            Fraction(amount),
            Fraction(value),
            Fraction(covers),
            at,
        )
        for kind, grant, hold, invoice, line, source, amount, value, covers, at in rows.values_list(
            "kind",
            "grant_id",
            "hold_id",
            "invoice_id",
            "line_id",
            "source_key",
            "amount",
            "value",
            "covers",
            "at",
        )
    ]


def _bought(tenant_id: UUID) -> dict[UUID, GrantFact]:
    """Return what top-off rules asked for, which nobody else has told."""
    rows = CreditGrant.objects.filter(tenant=tenant_id, source=GrantSource.TOP_OFF)
    return {
        one.id: GrantFact(
            id=one.id,
            wallet=one.wallet_id,
            paid=True,
            amount=one.amount,
            value=one.value,
            priority=one.priority,
            meters=(),
            begins_at=one.created_at,
            expires_at=None,
            lasts_months=one.lasts_count,
            asked_at=one.created_at,
        )
        for one in rows
    }


def _bills(customer: UUID) -> list[Bill]:
    lines: dict[UUID, list[BillLine]] = defaultdict(list)
    sells: dict[UUID, UUID] = {}
    rows = InvoiceLine.objects.filter(invoice__customer=customer).order_by("position")
    listed = list(rows)
    meters = dict(
        Charge.objects.filter(id__in={one.charge_id for one in listed}).values_list(
            "id", "meter_version__meter__key"
        )
    )
    for line in listed:
        if line.grant_id is not None:
            sells[line.invoice_id] = line.grant_id
        lines[line.invoice_id].append(
            BillLine(
                id=line.id,
                corrects=line.corrects_id,
                charge=(line.subscription_id, line.charge_id),
                amount=Fraction(line.amount),
                is_usage=line.kind in _USAGE,
                meter=(meters.get(line.charge_id) if line.charge_id else None) or "",
                starts=line.service_start,
                ends=line.service_end,
            )
        )
    # a memo that gives back what was right, or sold credit, has nothing to do with wallets here
    beside = Q(kind=DocumentKind.CREDIT_MEMO) & (Q(credits__isnull=False) | Q(sells_credit=True))
    documents = Invoice.objects.filter(customer=customer).exclude(beside)
    return [
        Bill(
            id=one.id,
            currency=one.currency,
            unit=Fraction(1, 10 ** DECIMALS[one.currency]),
            issued_at=one.issued_at,
            canceled_at=one.closed_at if one.status == InvoiceStatus.CANCELED else None,
            is_paid=one.status == InvoiceStatus.PAID,
            sells=sells.get(one.id),
            # the tax of what sells credit is judged with all other tax
            total=Fraction(one.total.amount - (one.tax.amount if one.id in sells else 0)),
            covered=Fraction(one.credit_applied),
            lines=lines[one.id],
        )
        for one in documents.exclude(status=InvoiceStatus.DRAFT).order_by("issued_at", "number")
        if one.issued_at is not None
    ]


def _uses(facts: Facts, customer: UUID) -> Iterator[Use]:
    events = [one for one in facts.events if one.customer == customer and not one.misplaced]
    for key in dict.fromkeys(meter for meter, _ in facts.credit.prices):
        meter = facts.meters[key]
        for one in counted(meter, events):
            event = one.event
            yield Use(
                event.told_at,
                event.number,
                facts.meter_ids[key],
                key,
                event.subscription,
                event.at,
                Fraction(1) if meter.aggregation == "count" else one.value,
            )


def _in_figures(purse: Purse) -> Iterator[str]:
    row = Wallet.objects.get(pk=purse.fact.id)
    held = sum((one.held for one in purse.grants.values()), Fraction(0))
    should = [purse.balance, held, purse.lent, purse.lent_worth, purse.short]
    did = [row.balance, row.held, row.overdrawn, row.overdrawn_value, row.shortfall]
    if should != [Fraction(one) for one in did]:
        yield f"{row.public_id} has {did}, should have {[float(one) for one in should]}"
    for grant in CreditGrant.objects.filter(wallet=row):
        mine = purse.grants.get(grant.id)
        figures = (mine.left, mine.held, mine.worth) if mine else (Fraction(0),) * 3
        told = (grant.remaining, grant.held, grant.value_left)
        if figures != tuple(Fraction(one) for one in told):
            yield f"{grant.public_id} has {told}, should have {[float(one) for one in figures]}"


def _in_top_offs(
    purse: Purse, bought: Mapping[UUID, GrantFact], facts: Facts, clawing: Clawing
) -> Iterator[str]:
    """Yield purchases that no rule asks for, and rules that should have bought."""
    rule = purse.fact.top_off
    mine = [one for one in bought.values() if one.wallet == purse.fact.id]
    for one in mine:
        seen = purse.seen.get(one.asked_at, ())
        paused = clawing.is_paused(purse.fact.id, one.asked_at)
        fit = (
            not paused
            and rule is not None
            and any(
                balance < rule.low and _wanted(rule, balance, purse.fact) == one.amount
                for balance in seen
            )
        )
        if not fit:
            yield f"a top-off of {one.amount} at {one.asked_at}: the balance was {list(map(float, seen))}"
    if rule is None or purse.balance >= rule.low or (not mine and not purse.log):
        return
    row = TopOffRule.objects.get(wallet=purse.fact.id)
    now = facts.stops[-1]
    unpaid = CreditGrant.objects.filter(
        wallet=purse.fact.id, status__in=("pending", "payment_failed")
    )
    rests = row.failures >= row.attempt_limit or (row.not_before and row.not_before > now)
    recent = sum((one.amount for one in mine if one.asked_at > now - _CAP_DAYS), Decimal(0))
    capped = rule.cap is not None and recent + _wanted(rule, purse.balance, purse.fact) > rule.cap
    paused = clawing.is_paused(purse.fact.id, datetime.max.replace(tzinfo=UTC))
    if not (unpaid.exists() or rests or capped or paused):
        yield f"{row.public_id} should have bought: {float(purse.balance)} is left"


def _wanted(rule: TopOffFact, balance: Fraction, wallet: WalletFact) -> Decimal:
    if not rule.to_target:
        return rule.amount
    unit = Fraction(1, 10**wallet.places)
    missing = Fraction(rule.amount) - balance
    units = -(-missing // unit)
    return Decimal(int(units)).scaleb(-wallet.places)
