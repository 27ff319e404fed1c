"""Payment methods: attached, default, detached."""

from datetime import timedelta
from typing import Any

import pytest

from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.customers.models import Customer
from apps.payments.domain import (
    MethodDetached,
    MethodReferenceInvalid,
    ProviderNotForMode,
    ProviderUnknown,
)
from apps.payments.models import PaymentMethod
from apps.payments.operations.methods import add_payment_method, detach, set_default
from apps.payments.queries import default_method
from apps.tenants.domain import Mode
from tests.make.customers import make_customer
from tests.make.payments import make_method, make_payer
from tests.make.tenants import ACTOR, AT, make_tenant

pytestmark = pytest.mark.django_db


def add(customer: Customer, **values: Any) -> PaymentMethod:
    return add_payment_method(
        customer.id,
        **{
            "id": new_id(),
            "provider": "sandbox",
            "provider_ref": "sandbox_ok",
            "tenant_id": customer.tenant_id,
            "actor": ACTOR,
            "at": AT,
            **values,
        },
    )


def test_the_first_method_is_not_the_default_unless_asked_for() -> None:
    customer = make_payer(None)

    method = add(customer, label="Visa 4242")

    assert (method.is_default, method.label, str(method)) == (False, "Visa 4242", "Visa 4242")
    assert default_method(customer.id, tenant_id=customer.tenant_id) is None
    assert [e.type for e in AuditEvent.objects.filter(object_id=method.public_id)] == [
        "payment_method.added"
    ]


def test_there_is_one_default() -> None:
    customer = make_payer(None)
    first, second = add(customer, make_default=True), add(customer, make_default=True)

    assert default_method(customer.id, tenant_id=customer.tenant_id) == second
    told: dict[str, Any] = {"tenant_id": customer.tenant_id, "actor": ACTOR, "at": AT}
    set_default(first.id, **told)
    set_default(first.id, **told)

    assert default_method(customer.id, tenant_id=customer.tenant_id) == first
    made = AuditEvent.objects.filter(type="payment_method.made_default").order_by("id")
    assert [e.object_id for e in made] == [first.public_id, second.public_id, first.public_id]


def test_the_same_id_is_attached_once() -> None:
    customer = make_payer(None)
    method_id = new_id()

    assert add(customer, id=method_id) == add(customer, id=method_id, label="again")
    assert PaymentMethod.objects.get().label == ""


def test_a_detached_method_is_used_no_more() -> None:
    customer = make_payer()
    method = PaymentMethod.objects.get()
    told: dict[str, Any] = {"tenant_id": customer.tenant_id, "actor": ACTOR}

    detach(method.id, **told, at=AT)
    again = detach(method.id, **told, at=AT + timedelta(days=1))

    assert (again.is_default, again.detached_at) == (False, AT)
    assert default_method(customer.id, tenant_id=customer.tenant_id) is None
    with pytest.raises(MethodDetached):
        set_default(method.id, **told, at=AT)


def test_the_sandbox_is_for_test_mode_only() -> None:
    live = make_customer()

    with pytest.raises(ProviderNotForMode):
        add(live)

    assert add(live, provider="external", provider_ref="iban").provider == "external"


def test_what_no_provider_knows_is_refused() -> None:
    customer = make_payer(None)

    with pytest.raises(ProviderUnknown):
        add(customer, provider="stripe")
    with pytest.raises(MethodReferenceInvalid):
        add(customer, provider_ref="pm_card_visa")
    assert not PaymentMethod.objects.exists()


def test_other_tenants_see_nothing() -> None:
    customer = make_payer(None)
    other = make_payer(None, tenant=make_tenant(mode=Mode.TEST))
    method = make_method(customer, default=False)
    told: dict[str, Any] = {"tenant_id": other.tenant_id, "actor": ACTOR, "at": AT}

    with pytest.raises(NotFound):
        add(customer, tenant_id=other.tenant_id)
    with pytest.raises(NotFound):
        set_default(method.id, **told)
    with pytest.raises(NotFound):
        detach(method.id, **told)
