"""Plans as callers write them: reading with every problem at once, comparing, writing. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeVar

from apps.catalog.domain import (
    CatalogInvalid,
    ChargeKind,
    MeterTerms,
    PhaseKind,
    PriceTerms,
    ProductKind,
    Timing,
    misfits,
)
from apps.core.errors import FieldError, Invalid
from apps.core.money import CURRENCIES
from apps.rating.decimals import plain
from apps.rating.documents import Fields
from apps.rating.periods import Cadence, CadenceInvalid, Unit
from apps.rating.pricing import PricingModel, parse_pricing, pricing_document

BILLING_PERIODS: Final[Mapping[str, Cadence]] = {
    "daily": Cadence(Unit.DAY),
    "weekly": Cadence(Unit.WEEK),
    "monthly": Cadence(Unit.MONTH),
    "quarterly": Cadence(Unit.MONTH, 3),
    "half_yearly": Cadence(Unit.MONTH, 6),
    "yearly": Cadence(Unit.YEAR),
}
"""The words for common periods; every other one is ``{"unit", "count"}``."""

_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_SHOWN: Final = 64
_MOST_METADATA: Final = 50
_LONGEST_METADATA: Final = (40, 500)
_FIRST_CONTROL_FREE: Final = 32
_ZERO: Final = Decimal(0)
_Word = TypeVar("_Word", bound=str)


@dataclass(frozen=True, slots=True)
class Known:
    """What a document may refer to: the newest version of each meter and all, and keys."""

    meters: Mapping[str, MeterTerms] = field(default_factory=dict)
    meter_versions: Mapping[tuple[str, int], MeterTerms] = field(default_factory=dict)
    products: frozenset[str] = frozenset()
    price_lists: frozenset[str] = frozenset()
    # what the same document describes wrongly elsewhere: complained about there, not here
    broken_meters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PriceDraft:
    """A price as described: ``price_list`` is a key, None for the standard prices."""

    currency: str
    price_list: str | None
    terms: PriceTerms


@dataclass(frozen=True, slots=True)
class ChargeDraft:
    """A charge as described. ``meter_version`` is the number asked for; None means the newest."""

    key: str
    name: str
    kind: ChargeKind
    cadence: Cadence | None
    timing: Timing
    prorated: bool
    meter: str | None
    included_quantity: Decimal
    prices: tuple[PriceDraft, ...]
    meter_version: int | None = field(default=None, compare=False)
    meter_terms: MeterTerms | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PhaseDraft:
    """A phase as described; ``length`` None lasts until the subscription ends."""

    kind: PhaseKind
    name: str
    length: Cadence | None
    charges: tuple[ChargeDraft, ...]


@dataclass(frozen=True, slots=True)
class ProductDraft:
    """A product as described."""

    key: str
    name: str
    kind: ProductKind = ProductKind.BASE
    tax_code: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """A plan as described, with one version. ``product`` is None where a new one is to be made."""

    key: str
    name: str
    product: str | None
    description: str
    metadata: Mapping[str, str]
    phases: tuple[PhaseDraft, ...]
    publish: bool


def same_terms(draft: Sequence[PhaseDraft], stored: Sequence[PhaseDraft]) -> bool:
    """Tell whether a description says what is stored.

    Numbers are compared by value and names by their letters. A charge that does not say which
    version of its meter it means is content with the one that is stored.
    """
    if tuple(draft) != tuple(stored):
        return False
    return all(
        described.meter_version in {None, kept.meter_version}
        for here, there in zip(draft, stored, strict=True)
        for described, kept in zip(here.charges, there.charges, strict=True)
    )


# --- reading ------------------------------------------------------------------------------------


class Reader:
    """Reads the objects of one document and notes every problem of all of them."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.errors: list[FieldError] = []

    def refuse(self) -> None:
        """Raise ``CatalogInvalid`` with all problems, if there are any."""
        if self.errors:
            raise CatalogInvalid(
                errors=[
                    FieldError(error.field.lstrip("."), error.code, error.detail)
                    for error in self.errors
                ]
            )

    def fields(self, document: object, path: str = "") -> Fields:
        """Begin to read an object at a path of the document."""
        return Fields(document, path, self.errors)

    def product(self, fields: Fields) -> ProductDraft:
        """Read ``{"key", "name", "kind", "tax_code", "description"}``."""
        key = key_at(fields, "key")
        draft = ProductDraft(
            key=key,
            name=line_at(fields, "name", default=key),
            kind=ProductKind(word_at(fields, "kind", ProductKind, ProductKind.BASE)),
            tax_code=line_at(fields, "tax_code", default="", longest=40),
            description=line_at(fields, "description", default="", longest=2000),
        )
        fields.close()
        return draft

    def price_list(self, fields: Fields) -> tuple[str, str]:
        """Read ``{"key", "name"}``."""
        key = key_at(fields, "key")
        name = line_at(fields, "name", default=key)
        fields.close()
        return key, name

    def plan(self, fields: Fields) -> PlanDraft:
        """Read a whole plan: what it is, and the terms of one version."""
        key = key_at(fields, "key")
        product = None
        if fields.has("product"):
            product = key_at(fields, "product")
            if product and product not in self.known.products:
                fields.note("product", "product_unknown", f"there is no product {product!r}")
        else:
            fields.take("product", required=False)
        return PlanDraft(
            key=key,
            name=line_at(fields, "name", default=key),
            product=product,
            description=line_at(fields, "description", default="", longest=2000),
            metadata=_metadata_at(fields),
            phases=self.version(fields),
            publish=fields.flag("publish", default=True),
        )

    def version(self, fields: Fields) -> tuple[PhaseDraft, ...]:
        """Read the terms: ``currency``, ``billing_period``, and ``charges`` or ``phases``.

        ``charges`` alone are one evergreen phase. The caller closes the object.
        """
        currency = None
        if fields.has("currency"):
            currency = currency_at(fields, "currency")
        else:
            fields.take("currency", required=False)
        cadence = cadence_at(fields, "billing_period")
        if fields.gives("charges") and fields.gives("phases"):
            fields.note("charges", "ambiguous", "give charges, or phases that have them")
        if fields.gives("phases"):
            fields.take("charges", required=False)
            rows = fields.rows("phases")
            phases = tuple(
                self._phase(row, currency, cadence, is_last=row is rows[-1]) for row in rows
            )
            for earlier, phase, row in zip(phases, phases[1:], rows[1:], strict=False):
                if phase.kind is PhaseKind.TRIAL and earlier.kind is not PhaseKind.TRIAL:
                    row.note("kind", "trial_late", "trials come before all other phases")
        else:
            fields.take("phases", required=False)
            charges = self._charges(fields, currency, cadence, required=True)
            phases = (PhaseDraft(PhaseKind.EVERGREEN, "Evergreen", None, charges),)
        self._note_missing_prices(fields, phases)
        return phases

    def _phase(
        self, fields: Fields, currency: str | None, cadence: Cadence | None, *, is_last: bool
    ) -> PhaseDraft:
        kind = word_at(fields, "kind", PhaseKind, None)
        name = line_at(fields, "name", default=kind.replace("_", " ").capitalize())
        length = cadence_at(fields, "duration")
        charges = self._charges(fields, currency, cadence, required=False)
        fields.close()
        if kind == PhaseKind.EVERGREEN and length is not None:
            fields.note("duration", "evergreen_ends", "an evergreen phase has no duration")
        elif kind and kind != PhaseKind.EVERGREEN and not fields.has("duration"):
            fields.note("duration", "required", f"a {kind} phase needs a duration")
        if kind == PhaseKind.EVERGREEN and not is_last:
            fields.note("kind", "phase_unreachable", "nothing follows an evergreen phase")
        elif is_last and kind in {PhaseKind.TRIAL, PhaseKind.DISCOUNT}:
            fields.note("kind", "last_phase", "the last phase is evergreen or a fixed term")
        return PhaseDraft(PhaseKind(kind or PhaseKind.EVERGREEN), name, length, charges)

    def _charges(
        self, fields: Fields, currency: str | None, cadence: Cadence | None, *, required: bool
    ) -> tuple[ChargeDraft, ...]:
        if not required and not fields.gives("charges"):
            fields.take("charges", required=False)
            return ()
        charges = []
        places: dict[str, int] = {}
        for index, row in enumerate(fields.rows("charges")):
            charge = self._charge(row, currency, cadence)
            if charge.key in places:
                row.note("key", "duplicate", f"charges[{places[charge.key]}] has the same key")
            elif charge.key:
                places[charge.key] = index
            charges.append(charge)
        return tuple(charges)

    def _charge(self, fields: Fields, currency: str | None, cadence: Cadence | None) -> ChargeDraft:
        meter_key, meter = self._meter(fields)
        number = None
        if fields.has("meter_version"):
            number = fields.whole("meter_version", least=1)
        else:
            fields.take("meter_version", required=False)
        if number is not None and meter_key:
            meter = self.known.meter_versions.get((meter_key, number))
            if meter is None and meter_key in self.known.meters:
                fields.note("meter_version", "meter_unknown", f"{meter_key!r} has no such version")
        key = meter_key if meter_key and not fields.gives("key") else None
        key = key_at(fields, "key") if key is None else _taken(fields, "key", key)
        expected = ChargeKind.USAGE if meter_key else ChargeKind.RECURRING
        kind = ChargeKind(word_at(fields, "kind", ChargeKind, expected))
        if (kind is ChargeKind.USAGE) != (meter_key is not None):
            fields.note("meter", "meter_mismatch", "a usage charge, and no other, names a meter")
        draft = ChargeDraft(
            key=key,
            name=line_at(fields, "name", default=meter.name if meter else key),
            kind=kind,
            cadence=self._period(fields, kind, cadence),
            timing=_timing_at(fields, kind),
            prorated=fields.flag("prorated", default=True),
            meter=meter_key,
            included_quantity=fields.quantity("included_quantity", default=_ZERO),
            prices=self._prices(fields, kind, currency, meter),
            meter_version=number,
            meter_terms=meter,
        )
        if draft.included_quantity and kind is ChargeKind.FIXED:
            fields.note("included_quantity", "not_for_fixed", "a fixed charge includes nothing")
        fields.close()
        return draft

    def _meter(self, fields: Fields) -> tuple[str | None, MeterTerms | None]:
        """Read ``meter``, or its other name ``metric_key``; null is as good as nothing."""
        given = [name for name in ("meter", "metric_key") if fields.has(name)]
        for name in {"meter", "metric_key"} - set(given):
            fields.take(name, required=False)
        if not given:
            return None, None
        if len(given) > 1:
            fields.take("metric_key")
            fields.note("metric_key", "ambiguous", "give meter or metric_key, which are the same")
        key = key_at(fields, given[0])
        meter = self.known.meters.get(key)
        if key and meter is None and key not in self.known.broken_meters:
            fields.note(given[0], "meter_unknown", f"there is no meter {key!r}")
        return key, meter

    def _period(self, fields: Fields, kind: ChargeKind, cadence: Cadence | None) -> Cadence | None:
        own = cadence_at(fields, "period")
        if kind is ChargeKind.FIXED:
            if fields.has("period"):
                fields.note("period", "not_for_fixed", "a fixed charge is billed once")
            return None
        if own is None and cadence is None and not fields.has("period"):
            fields.note(
                "period", "required", "give the charge a period, or the plan a billing_period"
            )
        return own or cadence

    def _prices(
        self, fields: Fields, kind: ChargeKind, currency: str | None, meter: MeterTerms | None
    ) -> tuple[PriceDraft, ...]:
        if fields.gives("pricing") == fields.gives("prices"):
            fields.note("pricing", "required", "give one pricing, or a list of prices")
        prices = []
        if fields.gives("prices"):
            for name in ("pricing", "minimum", "maximum", "billing_threshold"):
                if fields.gives(name):
                    fields.take(name)
                    fields.note(name, "ambiguous", "where there are prices, it belongs to each")
            rows = fields.rows("prices")
        else:
            fields.take("prices", required=False)
            rows = [fields] if fields.gives("pricing") else []
        places: dict[tuple[str | None, str], int] = {}
        for index, row in enumerate(rows):
            price = self._price(row, kind, currency, meter, is_row=row is not fields)
            if price is None:
                continue
            place = (price.price_list, price.currency)
            if place in places:
                row.note("currency", "duplicate", f"prices[{places[place]}] is for the same")
            places[place] = index
            prices.append(price)
        return tuple(sorted(prices, key=lambda one: (one.price_list or "", one.currency)))

    def _price(
        self,
        fields: Fields,
        kind: ChargeKind,
        currency: str | None,
        meter: MeterTerms | None,
        *,
        is_row: bool,
    ) -> PriceDraft | None:
        """Read one price: a row of ``prices``, or the fields of that name of the charge itself."""
        price_list = None
        if is_row:
            currency = currency_at(fields, "currency") if fields.gives("currency") else currency
            fields.take("currency", required=False)
            price_list = self._list_of(fields)
        if currency is None and not (is_row and fields.gives("currency")):
            fields.note(
                "currency" if is_row else "pricing",
                "required",
                "give the price, or the plan, a currency",
            )
        document = fields.take("pricing")
        low, high, threshold = (
            _bound_at(fields, name, currency, kind)
            for name in ("minimum", "maximum", "billing_threshold")
        )
        if low is not None and high is not None and low > high:
            fields.note("maximum", "maximum_below_minimum", f"{high} is less than {low}")
        if is_row:
            fields.close()
        if currency is None or not fields.gives("pricing"):
            return None
        model = self._model(document, currency, f"{fields.path}.pricing", kind, meter)
        if model is None:
            return None
        return PriceDraft(currency, price_list, PriceTerms(model, low, high, threshold))

    def _model(
        self,
        document: object,
        currency: str,
        path: str,
        kind: ChargeKind,
        meter: MeterTerms | None,
    ) -> PricingModel | None:
        try:
            model = parse_pricing(document, currency=currency, field=path)
        except Invalid as error:
            self.errors.extend(error.errors)
            return None
        # an unknown meter has been complained about, and nothing can be said about its fit
        if meter is not None or kind is not ChargeKind.USAGE:
            for place, code, detail in misfits(model, meter):
                self.errors.append(FieldError(f"{path}.{place}", code, detail))
        return model

    def _list_of(self, fields: Fields) -> str | None:
        if not fields.has("price_list"):
            fields.take("price_list", required=False)
            return None
        key = key_at(fields, "price_list")
        if key and key not in self.known.price_lists:
            fields.note("price_list", "price_list_unknown", f"there is no price list {key!r}")
        return key

    def _note_missing_prices(self, fields: Fields, phases: Iterable[PhaseDraft]) -> None:
        """Every charge has a standard price in every currency that any charge has one in."""
        if self.errors:
            return
        listed = list(phases)
        wanted = {
            price.currency
            for phase in listed
            for charge in phase.charges
            for price in charge.prices
        }
        by_phase = fields.gives("phases")
        for number, phase in enumerate(listed):
            for index, charge in enumerate(phase.charges):
                standard = {one.currency for one in charge.prices if one.price_list is None}
                missing = ", ".join(sorted(wanted - standard))
                if missing:
                    place = (
                        f"phases[{number}].charges[{index}]" if by_phase else f"charges[{index}]"
                    )
                    fields.note(
                        f"{place}.prices",
                        "price_missing",
                        f"the charge needs a standard price in {missing}, as others have one",
                    )


def _taken(fields: Fields, name: str, value: str) -> str:
    fields.take(name, required=False)
    return value


def key_at(fields: Fields, name: str) -> str:
    """Return a key, or an empty string with a noted problem."""
    given = fields.take(name)
    if isinstance(given, str) and _KEY.fullmatch(given):
        return given
    if fields.gives(name):
        fields.note(
            name,
            "key_format",
            f"{str(given)[:_SHOWN]!r} is no key: 1 to 100 of a-z, 0-9, '_', '-', '.', beginning"
            " with a letter or digit",
        )
    return ""


def line_at(fields: Fields, name: str, *, default: str, longest: int = 200) -> str:
    """Return a text, trimmed; the default where it is absent."""
    if not fields.gives(name):
        return _taken(fields, name, default)
    given = fields.take(name)
    if not isinstance(given, str):
        fields.note(name, "invalid_type", "a string is needed")
        return default
    text = given.strip()
    if len(text) > longest or (not text and default):
        fields.note(name, "text_length", f"a text of 1 to {longest} characters is needed")
        return default
    if any(ord(char) < _FIRST_CONTROL_FREE and char != "\n" for char in text):
        fields.note(name, "control_character", "control characters are not allowed")
        return default
    return text


def word_at(fields: Fields, name: str, words: Iterable[_Word], default: _Word | None) -> str:
    """Return one of several words; the default where it is absent, if there is one."""
    if default is not None and not fields.gives(name):
        return _taken(fields, name, default)
    return fields.choice(name, words) or default or ""


def currency_at(fields: Fields, name: str) -> str | None:
    """Return a currency, or None with a noted problem."""
    given = fields.take(name)
    if isinstance(given, str) and given in CURRENCIES:
        return given
    fields.note(
        name, "currency_unknown", f"{str(given)[:_SHOWN]!r} is no ISO 4217 currency, such as USD"
    )
    return None


def cadence_at(fields: Fields, name: str) -> Cadence | None:
    """Return a period, written as a word or as ``{"unit", "count"}``; None if it is absent."""
    given = fields.take(name, required=False)
    if given is None:
        return None
    if isinstance(given, str):
        if given not in BILLING_PERIODS:
            fields.note(
                name,
                "unknown_choice",
                f"{given[:_SHOWN]!r} is not one of {', '.join(BILLING_PERIODS)}; other periods"
                ' are written {"unit": "month", "count": 2}',
            )
        return BILLING_PERIODS.get(given)
    inner = Fields(given, f"{fields.path}.{name}", fields.errors)
    if not inner.readable:
        return None
    before = len(fields.errors)
    unit = inner.choice("unit", Unit)
    count = inner.whole("count", least=1, default=1)
    inner.close()
    if len(fields.errors) > before:
        return None
    try:
        return Cadence(Unit(unit), count)
    except CadenceInvalid as error:
        inner.note("count", error.reason, error.detail)
        return None


def _timing_at(fields: Fields, kind: ChargeKind) -> Timing:
    expected = Timing.ARREARS if kind is ChargeKind.USAGE else Timing.ADVANCE
    timing = Timing(word_at(fields, "timing", Timing, expected))
    if timing is not expected and kind is not ChargeKind.RECURRING:
        fields.note("timing", "timing_mismatch", f"a {kind} charge is billed in {expected}")
    return timing


def _bound_at(fields: Fields, name: str, currency: str | None, kind: ChargeKind) -> Decimal | None:
    if currency is None or not fields.has(name):
        fields.take(name, required=False)
        return None
    if kind is not ChargeKind.USAGE:
        fields.note(name, "only_for_usage", "only usage charges have it")
    return fields.amount(name, currency)


def _metadata_at(fields: Fields) -> dict[str, str]:
    given = fields.take("metadata", required=False)
    if given is None:
        return {}
    longest_key, longest = _LONGEST_METADATA
    if (
        isinstance(given, dict)
        and len(given) <= _MOST_METADATA
        and all(
            isinstance(key, str)
            and 1 <= len(key) <= longest_key
            and isinstance(value, str)
            and len(value) <= longest
            for key, value in given.items()
        )
    ):
        return dict(given)
    fields.note(
        "metadata",
        "metadata_format",
        f"an object of at most {_MOST_METADATA} keys of 1 to {longest_key} characters, with strings"
        f" of at most {longest}",
    )
    return {}


# --- writing ------------------------------------------------------------------------------------


def phases_document(phases: Iterable[PhaseDraft]) -> list[dict[str, object]]:
    """Return phases in the form from which ``Reader`` reads equal ones."""
    return [
        {
            "kind": phase.kind.value,
            "name": phase.name,
            "duration": cadence_document(phase.length),
            "charges": [_charge_document(charge) for charge in phase.charges],
        }
        for phase in phases
    ]


def cadence_document(cadence: Cadence | None) -> dict[str, object] | None:
    """Return the JSON form of a period."""
    return None if cadence is None else {"unit": cadence.unit.value, "count": cadence.count}


def _charge_document(charge: ChargeDraft) -> dict[str, object]:
    return {
        "key": charge.key,
        "name": charge.name,
        "kind": charge.kind.value,
        "meter": charge.meter,
        "meter_version": charge.meter_version,
        "period": cadence_document(charge.cadence),
        "timing": charge.timing.value,
        "prorated": charge.prorated,
        "included_quantity": plain(charge.included_quantity),
        "prices": [
            {
                "currency": price.currency,
                "price_list": price.price_list,
                "pricing": pricing_document(price.terms.model),
                "minimum": _plain_or_none(price.terms.minimum),
                "maximum": _plain_or_none(price.terms.maximum),
                "billing_threshold": _plain_or_none(price.terms.billing_threshold),
            }
            for price in charge.prices
        ],
    }


def _plain_or_none(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
