"""Agreeing on contracts, ending and describing them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.catalog.domain import ChargeTerms, FeatureKind, misfits
from apps.catalog.queries import charges_of, features_of
from apps.core.constraints import broken
from apps.core.errors import FieldError, Invalid, NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import new_id
from apps.core.locks import lock_row
from apps.core.money import CURRENCIES, fits, plain
from apps.customers.models import Customer
from apps.rating.periods import Cadence, Unit
from apps.rating.pricing import parse_pricing, pricing_document
from apps.subscriptions.contracts import contract_terms
from apps.subscriptions.domain import (
    FURTHEST,
    ChangeVerb,
    CommitmentPer,
    ContractInvalid,
    ExternalIdTaken,
    SubscriptionStatus,
    Wish,
    discount_start,
)
from apps.subscriptions.models import Contract, Subscription
from apps.subscriptions.operations.deciding import decide
from apps.subscriptions.operations.enacting import enact
from apps.subscriptions.operations.locking import lock_customer, refuse_ended
from apps.subscriptions.operations.marking import mark_changed
from apps.subscriptions.queries import segments_of, terms_with


@dataclass(frozen=True, slots=True)
class WantedPrice:
    """A price that is to be agreed on; ``pricing`` is a model's document, as callers write it."""

    charge: str
    pricing: object
    starts_at: datetime | None = None  # with the contract
    minimum: Decimal | None = None
    maximum: Decimal | None = None


@dataclass(frozen=True, slots=True)
class WantedCommitment:
    """What is to be spent at least, and what more than that costs."""

    amount: Decimal
    per: CommitmentPer = CommitmentPer.PERIOD
    overage_factor: Decimal = Decimal(1)
    true_up: bool = True
    charges: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class WantedGrant:
    """What is to be granted of a feature; ``limit`` None grants without limit."""

    feature: str
    limit: Decimal | None = None


@transaction.atomic
def create_contract(
    customer_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- of the row to be
    name: str,
    subscription_id: UUID | None = None,
    external_id: str | None = None,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    prices: Sequence[WantedPrice] = (),
    quantities: Sequence[tuple[datetime, Decimal]] = (),
    commitment: WantedCommitment | None = None,
    features: Sequence[WantedGrant] = (),
    documents: Sequence[Mapping[str, str]] = (),
    actor: str,
    at: datetime,
) -> Contract:
    """Note what was agreed on with a customer, for one subscription or (None) all that he has.

    It is about the billing periods that begin from the one on in which ``starts_at`` (now unless
    given) lies, until ``ends_at``, exclusive. Of those that are billed already the next run bills or
    credits the difference. ``prices`` replace those of charges with that key, each from its own
    start on; ``quantities`` are changes of the subscription's quantity, which wait for their time.
    ``features`` take the place of what the subscription, or all that he has, grants of them, from
    ``starts_at`` to ``ends_at``.

    An ``id`` that exists is returned as it is. Raises ``NotFound``, ``SubscriptionEnded``,
    ``ExternalIdTaken``, what ``change_subscription`` raises, and ``ContractInvalid`` with every
    problem.
    """
    customer = lock_customer(customer_id)
    known = Contract.objects.filter(pk=id, tenant_id=customer.tenant_id).first()
    if known is not None:
        return known
    subscriptions = _subscriptions(customer, subscription_id)
    own = subscriptions[0] if subscription_id is not None else None
    begins, pace, charges = _start(own, subscriptions, at if starts_at is None else starts_at)
    currency = customer.currency if own is None else own.currency
    agreed, errors = _read_prices(prices, charges, currency, begins)
    if own is not None:
        refuse_ended(own)
    errors += _time_errors(begins, ends_at, at)
    if commitment is not None:
        errors += _commitment_errors(own, ends_at, commitment, charges, currency)
    errors += _feature_errors(customer.tenant_id, features)
    if quantities and own is None:
        errors.append(FieldError("quantities", "needs_subscription", "name the subscription"))
    if errors:
        raise ContractInvalid(errors=errors)
    contract = Contract(
        id=id,
        tenant_id=customer.tenant_id,
        customer=customer,
        subscription=own,
        external_id=external_id,
        name=name,
        currency=currency,
        starts_at=begins,
        ends_at=ends_at,
        period_unit=pace.unit,
        period_count=pace.count,
        zone=customer.zone,
        prices=agreed,
        features=[
            {"feature": one.feature, "limit": None if one.limit is None else plain(one.limit)}
            for one in features
        ],
        documents=[dict(one) for one in documents],
        created_at=at,
        **_columns(commitment),
    )
    _insert(contract)
    failpoint("subscriptions.contract.after_insert")
    _look_again(subscriptions, begins, at)
    if own is not None and quantities:
        _lay_ramp(own, quantities, actor=actor, at=at)
        failpoint("subscriptions.contract.after_ramp")
    record(
        "contract.created", contract, actor=actor, at=at, name=name, starts_at=begins.isoformat()
    )
    return contract


@transaction.atomic
def end_contract(
    contract_id: UUID,
    *,
    tenant_id: UUID,
    ends_at: datetime | None = None,
    actor: str,
    at: datetime,
) -> Contract:
    """Let a contract be about no billing period that begins at ``ends_at`` (now unless given) or later.

    Down to its start. What was billed of such periods is billed anew, by its difference. One that
    ends no later is returned as it is. Raises ``NotFound`` and ``ContractInvalid``.
    """
    found = Contract.objects.filter(pk=contract_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound("There is no such contract.")
    customer = lock_customer(found.customer_id)
    contract = lock_row(Contract, contract_id, tenant_id=tenant_id)
    if ends_at is not None and not contract.starts_at <= ends_at <= at + FURTHEST:
        raise ContractInvalid(
            f"it began at {contract.starts_at.isoformat()} and ends within ten years",
            field="ends_at",
        )
    ends = max(at if ends_at is None else ends_at, contract.starts_at)
    if contract.ends_at is not None and contract.ends_at <= ends:
        return contract
    contract.ends_at = ends
    contract.save(update_fields=["ends_at"])
    failpoint("subscriptions.contract.after_end")
    since = _cut_since(contract, ends)
    _look_again(_subscriptions(customer, contract.subscription_id), since, at)
    record("contract.ended", contract, actor=actor, at=at, ends_at=ends.isoformat())
    return contract


@transaction.atomic
def describe_contract(
    contract_id: UUID,
    *,
    tenant_id: UUID,
    name: str | None = None,
    documents: Sequence[Mapping[str, str]] | None = None,
    actor: str,
    at: datetime,
) -> Contract:
    """Change the name of a contract or the documents that go with it. Raises ``NotFound``."""
    contract = lock_row(Contract, contract_id, tenant_id=tenant_id)
    if name is not None:
        contract.name = name
    if documents is not None:
        contract.documents = [dict(one) for one in documents]
    contract.save(update_fields=["name", "documents"])
    record("contract.described", contract, actor=actor, at=at, name=contract.name)
    return contract


def _cut_since(contract: Contract, ends: datetime) -> datetime:
    """Return since when something is otherwise: the time of the commitment that an end cuts short."""
    if contract.commitment is None:
        return ends
    if contract.commitment_per == CommitmentPer.TERM:
        return contract.starts_at
    rhythm = contract_terms(contract).rhythm
    return max(contract.starts_at, rhythm.boundary(rhythm.index_at(ends)))


def _subscriptions(customer: Customer, subscription_id: UUID | None) -> list[Subscription]:
    rows = Subscription.objects.filter(customer=customer).order_by("started_at", "pk")
    if subscription_id is None:
        return list(rows.exclude(status=SubscriptionStatus.ENDED))
    found = list(rows.filter(pk=subscription_id))
    if not found:
        raise NotFound("There is no such subscription.", field="subscription")
    return found


def _start(
    own: Subscription | None, subscriptions: Sequence[Subscription], wanted: datetime
) -> tuple[datetime, Cadence, list[ChargeTerms]]:
    """Return from when on the contract holds, the pace of periods, and the charges it may name."""
    segments = segments_of(one.pk for one in subscriptions)
    charges = charges_of(one.phase_id for laid in segments.values() for one in laid.all())
    listed = [one for found in charges.values() for one in found]
    if own is None or not segments[own.pk].segments:
        return wanted, Cadence(Unit.MONTH), listed
    begins, pace = discount_start(terms_with(own, segments[own.pk]), charges, wanted)
    return begins, pace, listed


def _read_prices(
    wanted: Sequence[WantedPrice],
    charges: Sequence[ChargeTerms],
    currency: str,
    begins: datetime,
) -> tuple[list[dict[str, Any]], list[FieldError]]:
    agreed: list[dict[str, Any]] = []
    errors: list[FieldError] = []
    for index, one in enumerate(wanted):
        place = f"prices[{index}]"
        named = [charge for charge in charges if charge.key == one.charge]
        if not named:
            errors.append(
                FieldError(f"{place}.charge", "charge_unknown", "no subscription has this charge")
            )
        try:
            model = parse_pricing(one.pricing, currency=currency, field=f"{place}.pricing")
        except Invalid as error:
            errors += error.errors
            continue
        errors += [
            FieldError(f"{place}.pricing.{path}", code, detail)
            for charge in named[:1]
            for path, code, detail in misfits(model, charge.meter)
        ]
        errors += _bound_errors(place, one, currency)
        agreed.append(
            {
                "charge": one.charge,
                "currency": currency,
                "starts_at": (one.starts_at or begins).isoformat(),
                "pricing": pricing_document(model),
                "minimum": None if one.minimum is None else plain(one.minimum),
                "maximum": None if one.maximum is None else plain(one.maximum),
            }
        )
    return agreed, errors


def _bound_errors(place: str, one: WantedPrice, currency: str) -> Iterator[FieldError]:
    for name, bound in (("minimum", one.minimum), ("maximum", one.maximum)):
        if bound is None or currency not in CURRENCIES:
            continue
        if bound < 0:
            yield FieldError(f"{place}.{name}", "amount_negative", "not below zero")
        elif not fits(bound, currency):
            yield FieldError(f"{place}.{name}", "currency_precision", f"too fine for {currency}")
    if one.minimum is not None and one.maximum is not None and one.maximum < one.minimum:
        yield FieldError(f"{place}.maximum", "maximum_below_minimum", "less than the minimum")


def _time_errors(begins: datetime, ends_at: datetime | None, at: datetime) -> Iterator[FieldError]:
    if abs(begins - at) > FURTHEST:
        yield FieldError("starts_at", "start_too_far", "within ten years of now")
    if ends_at is not None and not begins < ends_at <= at + FURTHEST:
        yield FieldError("ends_at", "end_before_start", "after its start, within ten years of now")


def _commitment_errors(
    own: Subscription | None,
    ends_at: datetime | None,
    commitment: WantedCommitment,
    charges: Sequence[ChargeTerms],
    currency: str,
) -> Iterator[FieldError]:
    if own is None:
        yield FieldError("commitment", "needs_subscription", "name the subscription")
    if not commitment.amount > 0:
        yield FieldError("commitment.amount", "not_positive", "more than zero")
    elif not fits(commitment.amount, currency):
        yield FieldError("commitment.amount", "currency_precision", f"too fine for {currency}")
    if commitment.per is CommitmentPer.TERM and ends_at is None:
        yield FieldError("ends_at", "required", "a commitment for the term needs its end")
    if commitment.overage_factor < 1:
        yield FieldError(
            "commitment.overage_factor", "factor_below_one", "what exceeds it costs no less"
        )
    known = {one.key for one in charges}
    for index, key in enumerate(commitment.charges):
        if key not in known:
            yield FieldError(
                f"commitment.charges[{index}]", "charge_unknown", "it has no such charge"
            )


def _feature_errors(tenant_id: UUID, wanted: Sequence[WantedGrant]) -> Iterator[FieldError]:
    if not wanted:
        return
    kinds = {one.key: one.kind for one in features_of(tenant_id)}
    seen: set[str] = set()
    for index, one in enumerate(wanted):
        place = f"features[{index}]"
        if one.feature not in kinds:
            detail = f"there is no feature {one.feature!r}"
            yield FieldError(f"{place}.feature", "feature_unknown", detail)
        elif one.limit is not None and kinds[one.feature] == FeatureKind.BOOLEAN:
            detail = f"{one.feature!r} is granted or not; it has no limit"
            yield FieldError(f"{place}.limit", "only_for_limits", detail)
        if one.limit is not None and one.limit < 0:
            yield FieldError(f"{place}.limit", "quantity_negative", "not below zero")
        if one.feature in seen:
            yield FieldError(f"{place}.feature", "duplicate", "it is granted above already")
        seen.add(one.feature)


def _columns(commitment: WantedCommitment | None) -> dict[str, Any]:
    if commitment is None:
        return {}
    return {
        "commitment": commitment.amount,
        "commitment_per": commitment.per,
        "commitment_charges": sorted(set(commitment.charges)),
        "overage_factor": commitment.overage_factor,
        "true_up": commitment.true_up,
    }


def _lay_ramp(
    own: Subscription, quantities: Sequence[tuple[datetime, Decimal]], *, actor: str, at: datetime
) -> None:
    """Change the quantity at each instant; what lies ahead waits until then."""
    locked = lock_row(Subscription, own.pk, tenant_id=own.tenant_id)
    for effective_at, quantity in quantities:
        wish = Wish(ChangeVerb.CHANGE_QUANTITY, effective_at=effective_at, quantity=quantity)
        change, behaviour = decide(locked, wish, at=at)
        enact(locked, change, behaviour=behaviour, change_id=new_id(), actor=actor, at=at)


def _insert(contract: Contract) -> None:
    try:
        with transaction.atomic():
            contract.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "contract_external_id_once":
            raise
        raise ExternalIdTaken(
            f"Another contract has the external id {contract.external_id!r}.", field="external_id"
        ) from error


def _look_again(subscriptions: Sequence[Subscription], since: datetime, at: datetime) -> None:
    """Have the next runs compute again what was billed of the time since an instant."""
    if since <= at:
        mark_changed({one.pk: since for one in subscriptions if one.next_bill_at is not None})
