"""Money that is disputed, and how that ends."""

from decimal import Decimal
from typing import Any

from apps.core.ids import new_id
from apps.payments.models import Dispute, Payment
from apps.payments.operations.disputing import Claim, lose_dispute, open_dispute, win_dispute
from tests.make.payments import usd
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT


@in_its_scope
def dispute(payment: Payment, amount: str | None = None, **values: Any) -> Dispute:
    """Record that an amount of the payment in USD, or all that is left of it, is disputed."""
    given = {"id": new_id(), "actor": ACTOR, "at": AT, "reference": f"case {new_id()}", **values}
    told = {name: given.pop(name) for name in list(given) if name in Claim.__slots__}
    claim = Claim(amount=usd(amount) if amount else None, **told)
    return open_dispute(payment.id, claim, tenant_id=payment.tenant_id, **given)


@in_its_scope
def win(dispute: Dispute, **values: Any) -> Dispute:
    """Bring the money back."""
    given = {"actor": ACTOR, "at": AT, **values}
    return win_dispute(dispute.id, tenant_id=dispute.tenant_id, **given)


@in_its_scope
def lose(dispute: Dispute, **values: Any) -> Dispute:
    """Leave the money with the customer."""
    given = {"actor": ACTOR, "at": AT, **values}
    return lose_dispute(dispute.id, tenant_id=dispute.tenant_id, **given)


@in_its_scope
def disputed(payment: Payment) -> Decimal:
    """Return what of the payment is disputed, or lost by a dispute."""
    kept = Dispute.objects.filter(payment=payment).exclude(status="won")
    return sum((one.amount.amount for one in kept), Decimal(0))
