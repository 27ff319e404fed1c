"""Reading documents, with every problem of all their objects at once. Pure."""

from collections.abc import Hashable, Iterable, Mapping
from decimal import Decimal
from typing import Final, TypeVar

from apps.catalog.documents.drafts import (
    ChargeDraft,
    GrantDraft,
    Known,
    MeterDraft,
    PhaseDraft,
    PlanDraft,
    PriceDraft,
    PriceListDraft,
    ProductDraft,
)
from apps.catalog.documents.features import grants_at, in_order
from apps.catalog.documents.parts import (
    bound_at,
    cadence_at,
    currency_at,
    key_at,
    line_at,
    metadata_at,
    proration_at,
    taken,
    timing_at,
    word_at,
)
from apps.catalog.domain import (
    CatalogInvalid,
    ChargeKind,
    MeterTerms,
    PhaseKind,
    PriceTerms,
    ProductKind,
    looks,
    misfits,
)
from apps.core.errors import FieldError, Invalid
from apps.rating.aggregation import Aggregation, RoundingMode
from apps.rating.documents import Fields
from apps.rating.periods import Cadence
from apps.rating.pricing import PricingModel, parse_pricing

_ZERO: Final = Decimal(0)
_BOUNDS: Final = ("minimum", "maximum", "billing_threshold")
_Kind = TypeVar("_Kind")


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

    def price_list(self, fields: Fields) -> PriceListDraft:
        """Read ``{"key", "name"}``."""
        key = key_at(fields, "key")
        draft = PriceListDraft(key, line_at(fields, "name", default=key))
        fields.close()
        return draft

    def meter(self, fields: Fields) -> MeterDraft:
        """Read what ``metering.operations.create_meter`` takes; it judges the definition."""
        key = key_at(fields, "key")
        aggregation = word_at(fields, "aggregation", Aggregation, None)
        filters = self._listed(fields, "filters", dict, "an object")
        draft = MeterDraft(
            key=key,
            name=line_at(fields, "name", default=key),
            unit=line_at(fields, "unit", default="", longest=40),
            description=line_at(fields, "description", default="", longest=2000),
            event_name=line_at(fields, "event_name", default=key, longest=100),
            aggregation=Aggregation(aggregation or Aggregation.COUNT),
            value_property=line_at(fields, "value_property", default="", longest=100),
            percentile=fields.number("percentile") if fields.has("percentile") else None,
            recurring=fields.flag("recurring", default=False),
            filters=tuple(filters),
            group_by=tuple(self._listed(fields, "group_by", str, "a string")),
            rounding=self._rounding(fields),
            rounding_places=int(fields.number("rounding_places", default=_ZERO) or 0),
        )
        fields.take("percentile", required=False)
        fields.close()
        return draft

    def _rounding(self, fields: Fields) -> RoundingMode | None:
        if not fields.has("rounding"):
            fields.take("rounding", required=False)
            return None
        mode = fields.choice("rounding", RoundingMode)
        return RoundingMode(mode) if mode else None

    def _listed(self, fields: Fields, name: str, kind: type[_Kind], what: str) -> list[_Kind]:
        given = fields.take(name, required=False)
        if given is None:
            return []
        if isinstance(given, list) and all(isinstance(one, kind) for one in given):
            return list(given)
        fields.note(name, "invalid_type", f"a list is needed, each entry {what}")
        return []

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
            metadata=metadata_at(fields),
            phases=self.version(fields),
            publish=fields.flag("publish", default=True),
        )

    def version(self, fields: Fields) -> tuple[PhaseDraft, ...]:
        """Read the terms: ``currency``, ``billing_period``, ``features``, ``charges`` or ``phases``.

        ``charges`` alone are one evergreen phase; features are granted in every phase that does not
        say otherwise. The caller closes the object.
        """
        currency = None
        if fields.has("currency"):
            currency = currency_at(fields, "currency")
        else:
            fields.take("currency", required=False)
        cadence = cadence_at(fields, "billing_period")
        granted = grants_at(fields, self.known)
        if fields.gives("charges") and fields.gives("phases"):
            fields.note("charges", "ambiguous", "give charges, or phases that have them")
        if fields.gives("phases"):
            fields.take("charges", required=False)
            rows = fields.rows("phases")
            phases = tuple(
                self._phase(row, currency, cadence, granted, is_last=row is rows[-1])
                for row in rows
            )
            for earlier, phase, row in zip(phases, phases[1:], rows[1:], strict=False):
                if phase.kind is PhaseKind.TRIAL and earlier.kind is not PhaseKind.TRIAL:
                    row.note("kind", "trial_late", "trials come before all other phases")
        else:
            fields.take("phases", required=False)
            charges = self._charges(fields, currency, cadence, required=True)
            features = in_order(granted)
            phases = (PhaseDraft(PhaseKind.EVERGREEN, "Evergreen", None, charges, features),)
        self._note_missing_prices(fields, phases)
        return phases

    def _phase(
        self,
        fields: Fields,
        currency: str | None,
        cadence: Cadence | None,
        granted: Mapping[str, GrantDraft],
        *,
        is_last: bool,
    ) -> PhaseDraft:
        kind = word_at(fields, "kind", PhaseKind, None)
        name = line_at(fields, "name", default=kind.replace("_", " ").capitalize())
        length = cadence_at(fields, "duration")
        charges = self._charges(fields, currency, cadence, required=False)
        features = in_order(granted, grants_at(fields, self.known))
        fields.close()
        if kind == PhaseKind.EVERGREEN and length is not None:
            fields.note("duration", "evergreen_ends", "an evergreen phase has no duration")
        elif kind and kind != PhaseKind.EVERGREEN and not fields.has("duration"):
            fields.note("duration", "required", f"a {kind} phase needs a duration")
        if kind == PhaseKind.EVERGREEN and not is_last:
            fields.note("kind", "phase_unreachable", "nothing follows an evergreen phase")
        elif is_last and kind in {PhaseKind.TRIAL, PhaseKind.DISCOUNT}:
            fields.note("kind", "last_phase", "the last phase is evergreen or a fixed term")
        return PhaseDraft(PhaseKind(kind or PhaseKind.EVERGREEN), name, length, charges, features)

    def _charges(
        self, fields: Fields, currency: str | None, cadence: Cadence | None, *, required: bool
    ) -> tuple[ChargeDraft, ...]:
        if not required and fields.take("charges", required=False) in (None, []):
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
        number: int | None
        if fields.has("meter_version"):
            number = fields.whole("meter_version", least=1)
        else:
            fields.take("meter_version", required=False)
            number = self.known.described_meters.get(meter_key or "")
        if number is not None and meter_key:
            meter = self.known.meter_versions.get((meter_key, number))
            if meter is None and meter_key in self.known.meters:
                fields.note("meter_version", "meter_unknown", f"{meter_key!r} has no such version")
        key = meter_key if meter_key and not fields.gives("key") else None
        key = key_at(fields, "key") if key is None else taken(fields, "key", key)
        expected = ChargeKind.USAGE if meter_key else ChargeKind.RECURRING
        kind = ChargeKind(word_at(fields, "kind", ChargeKind, expected))
        if (kind is ChargeKind.USAGE) != (meter_key is not None):
            fields.note("meter", "meter_mismatch", "a usage charge, and no other, names a meter")
        draft = ChargeDraft(
            key=key,
            name=line_at(fields, "name", default=meter.name if meter else key),
            kind=kind,
            cadence=self._period(fields, kind, cadence),
            timing=timing_at(fields, kind),
            prorated=fields.flag("prorated", default=True),
            proration=proration_at(fields),
            meter=meter_key,
            included_quantity=fields.quantity("included_quantity", default=_ZERO),
            prices=self._prices(fields, kind, currency, meter),
            meter_version=number,
            meter_terms=meter,
        )
        if draft.included_quantity and kind is ChargeKind.FIXED:
            fields.note("included_quantity", "not_for_fixed", "a fixed charge includes nothing")
        if draft.proration is not None and (kind is ChargeKind.FIXED or not draft.prorated):
            fields.note("proration", "not_prorated", "the charge is not prorated")
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
        if not fields.gives("pricing"):
            for name in _BOUNDS:
                if fields.take(name, required=False) is not None:
                    fields.note(name, "ambiguous", "it belongs to a price")
        if fields.gives("prices"):
            fields.take("pricing", required=False)
            rows = fields.rows("prices")
        else:
            fields.take("prices", required=False)
            rows = [fields] if fields.gives("pricing") else []
        places: dict[tuple[str | None, str], int] = {}
        ways: dict[str, Hashable] = {}
        for index, row in enumerate(rows):
            price = self._price(row, kind, currency, meter, is_row=row is not fields)
            if price is None:
                continue
            place = (price.price_list, price.currency)
            if place in places:
                row.note("currency", "duplicate", f"prices[{places[place]}] is for the same")
            places[place] = index
            look = looks(price.terms.model)
            if look is not None and ways.setdefault(price.currency, look) != look:
                row.note(
                    "pricing",
                    "measured_differently",
                    "another price of the charge in this currency looks at other groups, times or"
                    " parts of its usage; a charge measures its usage in one way",
                )
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
        if currency is None:
            fields.note(
                "currency" if is_row else "pricing",
                "required",
                "give the price, or the plan, a currency",
            )
        document = fields.take("pricing")
        low, high, threshold = (bound_at(fields, name, currency, kind) for name in _BOUNDS)
        if low is not None and high is not None and low > high:
            fields.note("maximum", "maximum_below_minimum", f"{high} is less than {low}")
        if is_row:
            fields.close()
        if not currency or not fields.gives("pricing"):
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
