"""What speaks against terms, whether a subscription begins with them or changes to them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from apps.catalog.domain import ChargeTerms, PlanVersionStatus, ProductKind
from apps.catalog.models import Plan, PlanVersion, PriceList
from apps.core.errors import FieldError, Invalid, NotFound
from apps.core.money import CURRENCIES
from apps.rating.periods import Alignment, schedule_for
from apps.subscriptions.domain import LARGEST_QUANTITY, PlanNotOnSale, SubscriptionInvalid
from apps.subscriptions.models import Subscription


def version_on_sale(plan_version_id: UUID, tenant_id: UUID) -> PlanVersion:
    version = (
        PlanVersion.objects.filter(pk=plan_version_id, tenant=tenant_id)
        .select_related("plan__product")
        .first()
    )
    if version is None:
        raise NotFound("There is no such plan version.", field="plan_version")
    if version.status != PlanVersionStatus.PUBLISHED:
        raise PlanNotOnSale(f"Version {version.number} of {version.plan.key} is {version.status}.")
    if version.plan.archived_at is not None:
        raise PlanNotOnSale(f"The plan {version.plan.key} is archived.")
    return version


def refuse_add_on(plan: Plan) -> None:
    if plan.product.kind == ProductKind.ADD_ON:
        raise SubscriptionInvalid(
            f"{plan.key} is an add-on: it is added to a subscription", field="plan"
        )


def price_list_of(price_list_id: UUID | None, tenant_id: UUID) -> PriceList | None:
    if price_list_id is None:
        return None
    found = PriceList.objects.filter(pk=price_list_id, tenant=tenant_id).first()
    if found is None:
        raise NotFound("There is no such price list.", field="price_list")
    return found


def currency_errors(
    charges: Sequence[ChargeTerms], price_list_id: UUID | None, currency: str
) -> Iterator[FieldError]:
    if currency not in CURRENCIES:
        yield FieldError("currency", "currency_unknown", f"{currency!r} is no ISO 4217 code")
    elif any(one.price(price_list_id, currency) is None for one in charges):
        offered = ", ".join(sorted({priced for one in charges for _, priced in one.prices}))
        yield FieldError(
            "currency",
            "currency_not_priced",
            f"the plan has no prices in {currency}, but in {offered}",
        )


def anchor_errors(
    subscription: Subscription, charges: Sequence[ChargeTerms], *, anchor_at: datetime
) -> Iterator[FieldError]:
    for cadence in {one.cadence for one in charges if one.cadence is not None}:
        try:
            schedule_for(
                anchor_at,
                cadence,
                Alignment(subscription.alignment),
                subscription.zone,
                subscription.anchor_day,
            )
        except Invalid as error:
            yield FieldError("anchor_day", error.reason, error.detail)


def quantity_errors(quantity: Decimal) -> Iterator[FieldError]:
    """Yield what is wrong with a quantity, if anything is."""
    if not 0 < quantity <= LARGEST_QUANTITY or quantity % 1:
        yield FieldError(
            "quantity",
            "quantity_invalid",
            f"a quantity is a whole number from 1 to {LARGEST_QUANTITY:f}",
        )
