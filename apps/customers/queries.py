"""Customers, their time, and which of them live on a clock."""

from datetime import datetime
from uuid import UUID

from django.db.models import ForeignObjectRel, Q, QuerySet

from apps.customers.models import Customer


def customers_for(tenant_id: UUID) -> QuerySet[Customer]:
    """Return the tenant's customers."""
    return Customer.objects.filter(tenant_id=tenant_id)


def customer_now(customer: Customer, *, wall: datetime) -> datetime:
    """Return what time it is for the customer: on its own clock, else its tenant's, else ``wall``.

    Reads both from the database unless they are loaded: use
    ``select_related("test_clock", "tenant__test_clock")``.
    """
    clock = customer.test_clock or customer.tenant.test_clock
    return clock.now if clock else wall


def on_clock(clock_id: UUID | None, prefix: str = "") -> Q:
    """Return the condition for customers that live on the clock; None stands for real time.

    ``prefix`` is the way from the filtered model to the customer, such as ``customer__``.
    """
    own, of_tenant = f"{prefix}test_clock", f"{prefix}tenant__test_clock"
    if clock_id is None:
        return Q((f"{own}__isnull", True), (f"{of_tenant}__isnull", True))
    return Q((own, clock_id)) | Q((f"{own}__isnull", True), (of_tenant, clock_id))


def has_amounts(customer: Customer) -> bool:
    """Say whether any row with a currency of its own belongs to the customer.

    Which tables these are is asked of the models, because this app knows none of those above it:
    whatever refers to a customer and has a ``currency`` is in that customer's currency.
    """
    return any(
        relation.related_model._default_manager.filter((relation.field.name, customer.pk)).exists()
        for relation in Customer._meta.get_fields(include_hidden=True)
        if isinstance(relation, ForeignObjectRel)
        and any(field.name == "currency" for field in relation.related_model._meta.fields)
    )
