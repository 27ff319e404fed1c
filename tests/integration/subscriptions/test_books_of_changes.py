"""The books are right however changes let periods be paid."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from apps.core.ids import new_id
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.subscriptions.domain import Behaviour, ChangeVerb, Wish
from apps.subscriptions.invariants import what_is_unbilled_is_due
from apps.subscriptions.operations import change_subscription
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR

pytestmark = pytest.mark.django_db


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def test_what_a_full_credit_let_be_paid_before_it_began_is_not_missing() -> None:
    customer = make_customer(at=on(1, 1))
    pricing = {"model": "per_unit", "unit_price": "31.00"}
    version = make_plan(customer.tenant, [{"key": "seats", "pricing": pricing}], at=on(1, 1))
    subscription = make_subscription(customer, version, at=on(1, 1))
    for day, wish in (
        (
            11,
            Wish(ChangeVerb.CHANGE_QUANTITY, behaviour=Behaviour.FULL_CREDIT, quantity=Decimal(2)),
        ),
        (16, Wish(ChangeVerb.PAUSE, behaviour=Behaviour.PRORATE)),
    ):
        change_subscription(subscription.pk, wish, change_id=new_id(), actor=ACTOR, at=on(1, day))

    close_due(on(2, 1), actor=ACTOR)

    # fifteen days at two seats, due on the first; nothing is due any more
    assert [one.total.amount for one in Invoice.objects.all()] == [Decimal("30.00")]
    subscription.refresh_from_db()
    assert (subscription.billed_until, subscription.next_bill_at) == (on(1, 1), None)
    assert list(what_is_unbilled_is_due(None)) == []
