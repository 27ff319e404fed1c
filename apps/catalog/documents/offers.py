"""Reading offers of add-ons, with every problem noted. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from apps.catalog.documents.drafts import Known
from apps.catalog.documents.parts import key_at
from apps.catalog.documents.transitions import SideDraft, side_at
from apps.catalog.domain import ProductKind
from apps.rating.documents import Fields

_ONE: Final = Decimal(1)
_MOST: Final = 10**9


@dataclass(frozen=True, slots=True)
class OfferDraft:
    """An offer as described: ``add_on`` is a product's key; ``most`` None is any number."""

    base: SideDraft
    add_on: str
    least: Decimal
    most: Decimal | None


def offer_at(fields: Fields, known: Known) -> OfferDraft:
    """Read ``{"base": {"plan"} or {"product"}, "add_on", "least", "most"}``."""
    base = side_at(fields, "base", known)
    if not fields.has("base"):
        fields.note("base", "required", "say to which plan, or to which product's, it is offered")
    add_on = key_at(fields, "add_on")
    _note_kinds(fields, base, add_on, known)
    least = _number_at(fields, "least") or _ONE
    most = _number_at(fields, "most")
    if most is not None and most < least:
        fields.note("most", "most_below_least", f"{most:f} is less than {least:f}")
    fields.close()
    return OfferDraft(base, add_on, least, most)


def _note_kinds(fields: Fields, base: SideDraft, add_on: str, known: Known) -> None:
    of_base = base.product if base.plan is None else known.plans.get(base.plan)
    kind = known.products.get(of_base) if of_base else None
    if kind not in (None, ProductKind.BASE):
        fields.note("base", "product_kind", f"{of_base} is no base product, but {kind}")
    if not add_on:
        return
    kind = known.products.get(add_on)
    if kind is None:
        fields.note("add_on", "product_unknown", f"there is no product {add_on!r}")
    elif kind is not ProductKind.ADD_ON:
        fields.note("add_on", "product_kind", f"{add_on} is no add-on, but {kind}")


def _number_at(fields: Fields, name: str) -> Decimal | None:
    if not fields.has(name):
        fields.take(name, required=False)
        return None
    number = fields.number(name)
    if number is not None and (not 1 <= number <= _MOST or number % 1):
        fields.note(name, "quantity_invalid", f"a whole number from 1 to {_MOST}")
        return None
    return number
