"""Plans for tests, made by the operations."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

from apps.catalog.models import AddOnOffer, Feature, PlanTransition, PlanVersion, PriceList
from apps.catalog.operations.features import create_feature
from apps.catalog.operations.lists import create_price_list
from apps.catalog.operations.offers import create_offer
from apps.catalog.operations.plans import add_version, create_plan
from apps.catalog.operations.transitions import create_transition
from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.tenants.models import Tenant
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT

_numbers = count(1)

BASE_FEE: Mapping[str, Any] = {
    "key": "base",
    "name": "Base fee",
    "pricing": {"model": "flat", "amount": "49.00"},
}


def plan_document(
    charges: Sequence[Mapping[str, Any]] | None = None,
    *,
    phases: Sequence[Mapping[str, Any]] | None = None,
    currency: str | None = "USD",
    key: str | None = None,
    **values: Any,
) -> dict[str, Any]:
    """Return a plan as callers describe one: a base fee of 49.00 a month unless told otherwise."""
    document: dict[str, Any] = {
        "key": key or f"plan-{next(_numbers)}",
        "name": "Growth",
        "billing_period": "monthly",
        **values,
    }
    if currency is not None:
        document["currency"] = currency
    if phases is not None:
        document["phases"] = [dict(phase) for phase in phases]
    else:
        document["charges"] = [dict(one) for one in ([BASE_FEE] if charges is None else charges)]
    return document


@in_its_scope
def make_plan(
    tenant: Tenant,
    charges: Sequence[Mapping[str, Any]] | None = None,
    *,
    phases: Sequence[Mapping[str, Any]] | None = None,
    currency: str | None = "USD",
    key: str | None = None,
    at: datetime = AT,
    **values: Any,
) -> PlanVersion:
    """Return the published version 1 of a new plan; see ``plan_document``."""
    document = plan_document(charges, phases=phases, currency=currency, key=key, **values)
    plan = create_plan(tenant.id, id=new_id(), document=document, actor=ACTOR, at=at)
    return plan.versions.get()


@in_its_scope
def make_version(
    version: PlanVersion,
    charges: Sequence[Mapping[str, Any]] | None = None,
    *,
    at: datetime = AT,
    **values: Any,
) -> PlanVersion:
    """Return the next version of the same plan, published."""
    document = plan_document(charges, **values)
    document.pop("key")
    document.pop("name")
    return add_version(version.plan_id, id=new_id(), document=document, actor=ACTOR, at=at)


@in_its_scope
def make_price_list(tenant: Tenant, key: str = "partner", *, at: datetime = AT) -> PriceList:
    """Return a new price list."""
    return create_price_list(tenant.id, id=new_id(), key=key, name=key, actor=ACTOR, at=at)


@in_its_scope
def make_transition(
    tenant: Tenant,
    was: Mapping[str, str] | None,
    to: Mapping[str, str] | None,
    *,
    at: datetime = AT,
    **values: Any,
) -> PlanTransition:
    """Return a new rule for changes from a plan or product to another; None is any plan."""
    document = {"from": was, "to": to, **values}
    return create_transition(tenant.id, id=new_id(), document=document, actor=ACTOR, at=at)


@in_its_scope
def make_offer(
    tenant: Tenant, base: Mapping[str, str], add_on: str, *, at: datetime = AT, **values: Any
) -> AddOnOffer:
    """Return a new offer of an add-on product to subscriptions on a plan or a product's plans."""
    document = {"base": base, "add_on": add_on, **values}
    return create_offer(tenant.id, id=new_id(), document=document, actor=ACTOR, at=at)


def make_feature(
    tenant_id: UUID, key: str | None = None, *, at: datetime = AT, **values: Any
) -> Feature:
    """Return a new feature: one with a limit unless told otherwise."""
    document = {"key": key or f"feature-{next(_numbers)}", "kind": "limit", **values}
    with tenant_scope(tenant_id):
        return create_feature(tenant_id, id=new_id(), document=document, actor=ACTOR, at=at)
