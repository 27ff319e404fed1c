"""What the doors of credit share."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from rest_framework.response import Response

from apps.core.clock import now
from apps.core.ids import decode, is_id
from apps.core.web.views import Door, named
from apps.customers.models import Customer
from apps.customers.queries import customers_for
from apps.wallets.api.answers import (
    GrantView,
)
from apps.wallets.models import (
    Wallet,
)
from apps.wallets.queries import (
    Room,
    grants_of,
    rooms,
)

CLOCKS: Final = ("test_clock", "tenant__test_clock")


class CreditDoor(Door):
    """What the doors of credit share."""

    resource = "wallets"

    def customer(self, name: str) -> Customer:
        """Return the tenant's customer, and the clock it lives by."""
        rows = customers_for(self.tenant_id).select_related(*CLOCKS)
        found: Customer = named(rows, name, own_name="external_id")
        return found

    def wallet(self, name: str) -> Wallet:
        """Return the tenant's wallet, with its customer's clock."""
        rows = Wallet.objects.filter(tenant_id=self.tenant_id).select_related(
            *(f"customer__{clock}" for clock in CLOCKS)
        )
        found: Wallet = named(rows, name, own_name="external_id")
        return found

    def spending(self, given: Mapping[str, Any]) -> list[Room]:
        """Return what can be spent of the wallets that a request means."""
        wallet_id = None
        if "wallet" in given:
            name = given["wallet"]
            known = is_id(Wallet.ID_PREFIX, name)
            wallet_id = decode(Wallet.ID_PREFIX, name) if known else self.wallet(name).id
        return rooms(
            self.tenant_id,
            customer=given.get("customer"),
            wallet_id=wallet_id,
            denomination=given.get("unit", given.get("currency")),
            meter=given["meter"],
            wall=now(),
        )


def grant_answer(tenant_id: UUID, grant_id: UUID, code: int) -> Response:
    return Response(GrantView(grants_of(tenant_id).get(pk=grant_id)).data, status=code)
