"""Why a line amounts to what it does, for people; and computing it again from the events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from django.db.models import Q, QuerySet

from apps.catalog.domain import ChargeTerms, PriceTerms
from apps.catalog.models import Charge
from apps.catalog.queries import charges_of, coupon_terms
from apps.core.errors import Conflict
from apps.core.ids import decode
from apps.core.money import ARITHMETIC, round_money
from apps.invoicing.assembly import PriceMissing, included_in
from apps.invoicing.committing import Spending, dearer, missing
from apps.invoicing.derivation import decode_derivation
from apps.invoicing.discounting import Reduction, percentage_of, shared
from apps.invoicing.domain import (
    SETTLEMENTS,
    GivesBack,
    InvoiceStatus,
    LineKind,
    SellsCredit,
)
from apps.invoicing.lines import Derivation
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceTax
from apps.invoicing.slicing import WHOLE
from apps.invoicing.wording import (
    amount_words,
    exact_words,
    number_words,
    reduction_sentences,
    share_words,
    span_words,
    spending_sentences,
    step_words,
    sum_words,
)
from apps.metering.domain import EventBehind, UsageRequest
from apps.metering.models import MeterVersion
from apps.metering.queries.measuring import events_behind, measure_as_of
from apps.rating.pricing import Measured, Step, after_included, needs, pricing_document, rate
from apps.subscriptions.contracts import agreed_terms, contract_terms
from apps.subscriptions.domain import ContractTerms
from apps.subscriptions.models import Contract, CouponRedemption
from apps.subscriptions.queries import timelines
from apps.tenants.domain import TaxRounding

_ZERO: Final = Decimal(0)
_MOST_STEPS: Final = 50  # in words; ``steps`` has all of them
_BOUNDS: Final = (LineKind.MINIMUM, LineKind.MAXIMUM)
_DISCOUNTED: Final = (LineKind.USAGE, LineKind.DISCOUNT)
_CHARGED: Final = (LineKind.FIXED, LineKind.RECURRING, LineKind.USAGE)


class NoUsageBehind(Conflict):
    """The line bills no usage: there are no events behind it."""

    reason = "no_usage_behind"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A line with everything its amount came from."""

    line: InvoiceLine
    derivation: Derivation
    price: PriceTerms | None  # None for what settles a commitment
    meter: MeterVersion | None
    earlier: tuple[InvoiceLine, ...]  # the lines of its key that were billed before it
    taxes: tuple[InvoiceTax, ...]  # of its document, at its rates

    @property
    def model(self) -> Mapping[str, object]:
        """The price, as it was published."""
        return pricing_document(self.price.model) if self.price is not None else {}

    @property
    def steps(self) -> tuple[Step, ...]:
        """The walk through the price; none for a line that only takes back."""
        return self.derivation.rated.steps if self.derivation.rated else ()

    @property
    def share(self) -> Fraction:
        """Which part of the period is billed."""
        return Fraction(*self.derivation.share)

    @property
    def usage(self) -> "Explanation | None":
        """Itself, if usage was measured for it."""
        return self if self.meter is not None else None

    @property
    def groups(self) -> list[dict[str, object]]:
        """The usage by the dimensions that the price looks at."""
        groups = self.derivation.measured.groups if self.derivation.measured else ()
        return [{"key": key, "quantity": quantity} for key, quantity in groups]

    @property
    def sentences(self) -> list[str]:
        """The computation in words, in its order."""
        return _sentences(self)


@dataclass(frozen=True, slots=True)
class Verification:
    """What computing the line again gave; it is verified if that is what the line says."""

    verified: bool
    quantity: Decimal
    expected: Decimal
    already_billed: Decimal
    amount: Decimal
    currency: str
    differences: tuple[str, ...]


def explain(line: InvoiceLine) -> Explanation:
    """Return what the line's amount came from; its ``invoice`` is loaded. Reads only.

    Raises ``SellsCredit`` and ``GivesBack``.
    """
    derivation = _derivation(line)
    price = _terms(line, derivation)[1] if derivation.spending is None else None
    meter = None
    if derivation.meter_version is not None:
        meter = MeterVersion.objects.select_related("meter").get(pk=derivation.meter_version)
    return Explanation(line, derivation, price, meter, tuple(_earlier(line)), _taxes(line))


def verify(line: InvoiceLine) -> Verification:
    """Compute the line again: measure the events it saw, price, round, subtract.

    Nothing that was stored of the way is used but what it was a part of: the period's share, the
    spans of usage and the snapshot. Events that were dropped by retention since are missing.
    """
    derivation = _derivation(line)
    if derivation.spending is not None or line.kind in SETTLEMENTS:
        measured, expected = Measured(_ZERO), _settled(line, derivation)
    else:
        charge, price = _terms(line, derivation)
        measured = _measured(line, derivation, price)
        expected = _expected(line, derivation, charge, price, measured)
    billed = _billed_before(line)
    already = derivation.already_billed if derivation.already_billed in billed else billed[0]
    amount = expected - already
    differences = []
    if measured.quantity != line.quantity:
        differences.append(
            f"The quantity is {number_words(measured.quantity)}, not {number_words(line.quantity)}."
        )
    for name, found, said in (
        ("The whole amount", expected, derivation.expected),
        ("What was billed before", already, derivation.already_billed),
        ("The amount of the line", amount, line.amount),
    ):
        if found != said:
            differences.append(
                f"{name} is {amount_words(found, line.currency)} {line.currency},"
                f" not {amount_words(said, line.currency)}."
            )
    return Verification(
        verified=not differences,
        quantity=measured.quantity,
        expected=expected,
        already_billed=already,
        amount=amount,
        currency=line.currency,
        differences=tuple(differences),
    )


def usage_behind(line: InvoiceLine, *, after: int, limit: int) -> list[EventBehind]:
    """Return up to ``limit`` events that the line has counted, in the order of their arrival.

    Only those after the event with the ``seq`` given. Raises ``NoUsageBehind`` for a line that
    bills no usage.
    """
    derivation = _derivation(line)
    request = None
    if derivation.meter_version is not None:
        request = _request(line, derivation, _terms(line, derivation)[1])
    if request is None:
        raise NoUsageBehind("This line bills no usage; there are no events behind it.")
    return events_behind(request, line.invoice.usage_snapshot, after=after, limit=limit)


def _sentences(explanation: Explanation) -> list[str]:
    line, derivation = explanation.line, explanation.derivation
    currency, zone = line.currency, line.invoice.zone
    period = span_words(line.service_start, line.service_end, zone)
    said = [f"{line.description}, {period} ({zone})."]
    if explanation.meter is not None:
        said.append(_measured_sentence(line, derivation, explanation.meter))
    if derivation.included:
        said.append(f"{_with_unit(derivation.included, line.unit)} are included in the price.")
    said += _steps_sentences(explanation)
    share = explanation.share
    if share != 1 and line.kind != LineKind.USAGE and derivation.rated is not None:
        exact = exact_words(derivation.exact, currency)
        said.append(f"For {share_words(share, derivation.basis)}: {exact} {currency}.")
    if line.kind in _BOUNDS:
        said.append(_bound_sentence(explanation))
    if derivation.agreed:
        said.append("The price was agreed on by contract.")
    if derivation.spending is not None:
        said += spending_sentences(derivation.spending, currency, LineKind(line.kind))
    if derivation.reduction is not None:
        said += reduction_sentences(derivation.reduction, currency)
    if derivation.exact != derivation.expected:
        said.append(
            f"Rounded once, half up: {number_words(derivation.exact)} is"
            f" {amount_words(derivation.expected, currency)} {currency}."
        )
    if line.corrects_id is not None or derivation.already_billed:
        said.append(_difference_sentence(explanation))
    said += [_tax_sentence(one) for one in explanation.taxes]
    return said


def _steps_sentences(explanation: Explanation) -> list[str]:
    steps, currency = explanation.steps, explanation.line.currency
    shown = steps[:_MOST_STEPS]
    said = [f"{step.label}: {step_words(step, currency)} {currency}." for step in shown]
    if len(steps) > len(shown):
        said.append(f"And {len(steps) - len(shown):,} more.")
    if len(steps) > 1:
        total = exact_words(sum((step.amount for step in steps), _ZERO), currency)
        whole = sum_words([step.amount for step in shown], currency)
        said.append(
            f"Together: {whole}{' + …' if len(steps) > len(shown) else ''} = {total} {currency}."
        )
    return said


def _measured_sentence(line: InvoiceLine, derivation: Derivation, meter: MeterVersion) -> str:
    counted = derivation.measured.count if derivation.measured else 0
    events = "1 event" if counted == 1 else f"{counted:,} events"
    point = f", at the prices of {derivation.price_list}" if derivation.price_list else ""
    return (
        f"{_with_unit(line.quantity, line.unit)}: the {meter.aggregation.replace('_', ' ')} of"
        f" {events} of the meter {meter.meter.key}, version {meter.number}{point}."
    )


def _bound_sentence(explanation: Explanation) -> str:
    line, price = explanation.line, explanation.price
    bound = None
    if price is not None:
        bound = price.minimum if line.kind == LineKind.MINIMUM else price.maximum
    words = exact_words(bound or _ZERO, line.currency)
    return f"The {line.kind} of a whole period is {words} {line.currency}."


def _difference_sentence(explanation: Explanation) -> str:
    line, derivation = explanation.line, explanation.derivation
    before = ", ".join(dict.fromkeys(str(one.invoice) for one in explanation.earlier))
    return (
        f"It should come to {amount_words(derivation.expected, line.currency)};"
        f" {amount_words(derivation.already_billed, line.currency)} were billed before"
        f"{f' ({before})' if before else ''}; this line is the difference:"
        f" {amount_words(line.amount, line.currency)} {line.currency}."
    )


def _tax_sentence(tax: InvoiceTax) -> str:
    """Say how the tax came about that the line has a part in."""
    currency = tax.currency
    of = "the line" if tax.rounding == TaxRounding.PER_LINE else "the lines that it applies to"
    amount = amount_words(tax.amount, currency)
    if tax.covered:
        of += f", less {amount_words(tax.covered, currency)} that credit pays, taxed when bought"
    if not (tax.taxable_before or tax.amount_before):
        return (
            f"{tax.name}, rounded once on the sum of {of}:"
            f" {number_words(tax.percentage)} % of {amount_words(tax.taxable, currency)}"
            f" = {amount} {currency}."
        )
    together = amount_words(tax.taxable_before + tax.taxable, currency)
    return (
        f"{tax.name}, with what is corrected: {number_words(tax.percentage)} % of {together}"
        f" = {amount_words(tax.amount_before + tax.amount, currency)}, less"
        f" {amount_words(tax.amount_before, currency)} before = {amount} {currency}."
    )


def _with_unit(quantity: Decimal, unit: str) -> str:
    return f"{number_words(quantity)} {unit}".rstrip()


# --- computing it again -------------------------------------------------------------------------


def _derivation(line: InvoiceLine) -> Derivation:
    """Return how the line came about; if nothing of it was computed ``SellsCredit``, ``GivesBack``."""
    if line.kind == LineKind.CREDIT:
        raise SellsCredit("This line asks what was asked for prepaid credit.")
    if line.kind == LineKind.REFUND:
        raise GivesBack("This line gives back what somebody chose to give back.")
    return decode_derivation(line.derivation)


def _terms(line: InvoiceLine, derivation: Derivation) -> tuple[ChargeTerms, PriceTerms]:
    """Return the published charge of the line, and the price of it that the line was made with."""
    (phase_id,) = Charge.objects.filter(id__in=[line.charge_id]).values_list("phase_id", flat=True)
    charge = next(one for one in charges_of([phase_id])[phase_id] if one.id == line.charge_id)
    price = charge.price(derivation.price_list_id, line.currency)
    if derivation.agreed:
        price = agreed_terms(derivation.agreed)
    if price is None:
        raise PriceMissing(f"The charge {charge.key} has no price in {line.currency} any more.")
    return charge, price


def _request(line: InvoiceLine, derivation: Derivation, price: PriceTerms) -> UsageRequest | None:
    if derivation.meter_version is None:
        return None
    return UsageRequest(
        number=0,
        tenant_id=line.tenant_id,
        customer_id=line.invoice.customer_id,
        subscription_id=line.subscription_id,
        meter_version_id=derivation.meter_version,
        spans=derivation.usage,
        need=needs(price.model),
        model=price.model,
    )


def _measured(line: InvoiceLine, derivation: Derivation, price: PriceTerms) -> Measured:
    request = _request(line, derivation, price)
    if request is None:
        return derivation.measured or Measured(_ZERO)
    usage = measure_as_of([request], line.invoice.usage_snapshot)
    by_point = {found.price_point: found.measured for found in usage.by_request.get(0, ())}
    return by_point.get(line.group, Measured(_ZERO))


def _expected(
    line: InvoiceLine,
    derivation: Derivation,
    charge: ChargeTerms,
    price: PriceTerms,
    measured: Measured,
) -> Decimal:
    """Return what the line's key should amount to."""
    share = Fraction(*derivation.share)
    if derivation.reduction is not None:
        return -_taken_off(line, derivation.reduction, bounds_first=derivation.bounds_first)
    if line.kind in _BOUNDS:
        bounded = [LineKind.USAGE] if derivation.bounds_first else _DISCOUNTED
        used = _sum_of_slice(line, Q(kind__in=bounded))
        bound = price.minimum if line.kind == LineKind.MINIMUM else price.maximum
        rest = _times(bound or _ZERO, share) - used
        exact = max(rest, _ZERO) if line.kind == LineKind.MINIMUM else min(rest, _ZERO)
        return round_money(exact, line.currency)
    if derivation.rated is None:
        return _ZERO  # taken back: its period or its charge no longer is
    is_usage = line.kind == LineKind.USAGE
    if charge.included_quantity and not line.group:
        included = included_in(charge.included_quantity, share if is_usage else WHOLE)
        measured = after_included(measured, included)
    exact = rate(price.model, measured).amount
    if not is_usage:
        exact = _times(exact, share)
    return round_money(exact, line.currency)


def _times(amount: Decimal, share: Fraction) -> Decimal:
    product = ARITHMETIC.multiply(amount, Decimal(share.numerator))
    return ARITHMETIC.divide(product, Decimal(share.denominator))


def _taxes(line: InvoiceLine) -> tuple[InvoiceTax, ...]:
    if line.tax_scope_id is None:
        return ()
    found = InvoiceTax.objects.filter(
        invoice_id=line.invoice_id, scope_id=line.tax_scope_id, rate_id__in=line.taxed_by
    )
    return tuple(found.order_by("name", "id"))


def _earlier(line: InvoiceLine) -> QuerySet[InvoiceLine]:
    """Return the lines of the same key that came before, of documents not canceled by then."""
    return (
        InvoiceLine.objects.filter(
            subscription_id=line.subscription_id,
            charge_id=line.charge_id,
            kind=line.kind,
            period_start=line.period_start,
            segment_start=line.segment_start,
            group=line.group,
            sequence__lt=line.sequence,
        )
        .exclude(_gone_by(line.invoice.created_at))
        .select_related("invoice")
        .order_by("sequence")
    )


def _gone_by(at: datetime) -> Q:
    return Q(invoice__status=InvoiceStatus.CANCELED, invoice__closed_at__lte=at)


def _billed_before(line: InvoiceLine) -> list[Decimal]:
    """Return what earlier lines of the key amount to.

    A draft may have been computed again after it was made; so where a document was canceled in
    between, there are two answers, without it and with it.
    """
    earlier = _earlier(line)
    without = earlier.exclude(_gone_by(line.invoice.issued_at or line.invoice.created_at))
    return [sum((one.amount for one in lines), _ZERO) for lines in (without, earlier)]


def _taken_off(line: InvoiceLine, reduction: Reduction, *, bounds_first: bool) -> Decimal:
    """Return what the coupon takes off what the line's charge and period come to."""
    redemption = CouponRedemption.objects.select_related("coupon").get(
        pk=decode(CouponRedemption.ID_PREFIX, reduction.redemption)
    )
    coupon = coupon_terms(redemption.coupon)
    before = Q(kind=LineKind.DISCOUNT, group__in=reduction.after)
    charged = (*_CHARGED, *_BOUNDS) if bounds_first else _CHARGED
    base = max(_sum_of_slice(line, Q(kind__in=charged) | before), _ZERO)
    if coupon.percentage is not None:
        off = round_money(percentage_of(base, coupon.percentage), line.currency)
        return min(off, base)
    weights = list(reduction.weights)
    weights[reduction.place] = base
    whole = coupon.amounts[line.currency]
    return shared(whole, reduction.used, weights, line.currency)[reduction.place]


def _sum_of_slice(line: InvoiceLine, kinds: Q) -> Decimal:
    """Return what such lines of the line's charge and period amounted to with its document."""
    lines = InvoiceLine.objects.filter(
        kinds,
        subscription_id=line.subscription_id,
        charge_id=line.charge_id,
        period_start=line.period_start,
        segment_start=line.segment_start,
    )
    return sum((one.amount for one in _known_to(line.invoice, lines)), _ZERO)


def _known_to(document: Invoice, lines: QuerySet[InvoiceLine]) -> QuerySet[InvoiceLine]:
    """Return those of the lines that stood when a document was issued, its own among them."""
    lines = lines.exclude(_gone_by(document.created_at))
    if document.issued_at is not None:
        before = Q(invoice__issued_at__lt=document.issued_at) | Q(
            invoice__issued_at=document.issued_at, invoice__id__lte=document.id
        )
        lines = lines.filter(before)
    return lines


def _settled(line: InvoiceLine, derivation: Derivation) -> Decimal:
    """Return what settling the commitment comes to, by the lines up to the line's document."""
    share = Fraction(*derivation.share)
    if derivation.spending is None or share == 0:
        return _ZERO  # taken back: the time is no longer settled
    row = Contract.objects.get(pk=decode(Contract.ID_PREFIX, derivation.spending.contract))
    contract = contract_terms(row)
    if contract.commitment is None:
        return _ZERO
    spending = Spending(
        contract=contract.public_id,
        amount=_times(contract.commitment.amount, share),
        counted=_spent(line, contract, contract.commitment.charges),
        overage_factor=contract.commitment.overage_factor,
    )
    exact = missing(spending) if line.kind == LineKind.TRUE_UP else dearer(spending)
    return round_money(exact, line.currency)


def _spent(line: InvoiceLine, contract: ContractTerms, keys: frozenset[str]) -> Decimal:
    """Return what the charges of the periods that begin in the line's time come to."""
    (terms,) = [
        one
        for one in timelines([line.invoice.customer_id])[line.invoice.customer_id]
        if one.id == line.subscription_id
    ]
    turn = contract.turn_at(terms, line.period_start)
    lines = _known_to(
        line.invoice, InvoiceLine.objects.filter(subscription_id=line.subscription_id)
    ).exclude(charge_id=None)
    if keys:
        charges = Charge.objects.filter(tenant_id=line.tenant_id, key__in=keys)
        lines = lines.filter(charge_id__in=charges.values("id"))
    return sum(
        (
            one.amount
            for one in lines
            if contract.starts_at <= max(one.period_start, terms.started_at)
            and max(one.period_start, terms.started_at) < line.period_end
            and contract.turn_at(terms, one.period_start) == turn
        ),
        _ZERO,
    )
