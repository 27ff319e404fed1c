"""Holds over HTTP, and whether a spend is covered."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.web.fields import StrictSerializer
from apps.core.web.views import Reader, id_of, named, one_of, text
from apps.customers.queries import customer_now
from apps.wallets.api.answers import (
    AuthorizationView,
    HoldView,
)
from apps.wallets.api.bodies import (
    CaptureBody,
    HoldBody,
    SpendBody,
)
from apps.wallets.api.door import CLOCKS, CreditDoor
from apps.wallets.domain import (
    HoldStatus,
    InsufficientCredit,
)
from apps.wallets.models import (
    CreditHold,
    Wallet,
)
from apps.wallets.operations.spending import (
    capture_hold,
    place_hold,
    release_hold,
)
from apps.wallets.queries import (
    holds_of,
)


class CreditHolds(CreditDoor):
    """Credit put aside for costs that are not known yet."""

    serializer_class = HoldView
    own_name = "external_id"
    money_actions: ClassVar[frozenset[str]] = frozenset({"create", "capture"})
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "wallet": ("wallet_id", id_of("wal")),
        "customer": ("wallet__customer_id", id_of("cus")),
        "status": ("status", one_of(*(s.value for s in HoldStatus))),
        "external_id": ("external_id", text),
    }

    def get_queryset(self) -> QuerySet[CreditHold]:
        return holds_of(self.tenant_id)

    @extend_schema(
        request=HoldBody,
        responses={201: HoldView},
        examples=[
            OpenApiExample(
                "At most two dollars, for ten minutes",
                request_only=True,
                value={"customer": "crm-4711", "currency": "USD", "amount": "2.00", "ttl": 600},
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Put the worst case aside, all or nothing, in the first wallet that has it; else 402."""
        given = self.read(HoldBody)
        there = self.spending(given)
        wanted = given["amount"]
        room = next((one for one in there if one.credit >= wanted), there[0] if there else None)
        if room is None:
            raise InsufficientCredit("The customer has no wallet for this.")
        wallet = Wallet.objects.select_related(*(f"customer__{clock}" for clock in CLOCKS)).get(
            pk=room.wallet_id
        )
        at = customer_now(wallet.customer, wall=now())
        hold = place_hold(
            wallet.id,
            id=self.effect_id,
            tenant_id=self.tenant_id,
            amount=wanted,
            expires_at=at + timedelta(seconds=given["ttl"]),
            meter=given["meter"],
            external_id=given.get("external_id"),
            actor=self.actor,
            at=at,
        )
        return self._shown(hold.id, status.HTTP_201_CREATED)

    @extend_schema(
        request=CaptureBody,
        responses=HoldView,
        examples=[OpenApiExample("It cost less", request_only=True, value={"amount": "1.37"})],
    )
    @action(detail=True, methods=["post"])
    def capture(self, _request: Request, pk: str) -> Response:
        """Spend what it really cost, and release the rest."""
        hold = self._hold(pk)
        given = self.read(CaptureBody)
        capture_hold(
            hold.id,
            tenant_id=self.tenant_id,
            amount=given.get("amount"),
            reason=given["reason"],
            actor=self.actor,
            at=customer_now(hold.wallet.customer, wall=now()),
        )
        return self._shown(hold.id, status.HTTP_200_OK)

    @extend_schema(request=None, responses=HoldView)
    @action(detail=True, methods=["post"])
    def release(self, _request: Request, pk: str) -> Response:
        """Give back what was put aside."""
        self.read(StrictSerializer)
        hold = self._hold(pk)
        at = customer_now(hold.wallet.customer, wall=now())
        release_hold(hold.id, tenant_id=self.tenant_id, actor=self.actor, at=at)
        return self._shown(hold.id, status.HTTP_200_OK)

    def _hold(self, name: str) -> CreditHold:
        rows = holds_of(self.tenant_id).select_related(
            *(f"wallet__customer__{clock}" for clock in CLOCKS)
        )
        found: CreditHold = named(rows, name, own_name="external_id")
        return found

    def _shown(self, hold_id: UUID, code: int) -> Response:
        return Response(HoldView(holds_of(self.tenant_id).get(pk=hold_id)).data, status=code)


class Authorizations(CreditDoor):
    """May this be spent?"""

    serializer_class = AuthorizationView

    @extend_schema(
        request=SpendBody,
        responses=AuthorizationView,
        examples=[
            OpenApiExample(
                "Before a generation",
                request_only=True,
                value={"customer": "crm-4711", "currency": "USD", "amount": "0.25"},
            )
        ],
    )
    def authorize(self, _request: Request) -> Response:
        """Say whether a spend is covered now, by all the wallets together; nothing changes."""
        given = self.read(SpendBody)
        there = self.spending(given)
        spendable = sum((one.spendable for one in there), given["amount"] * 0)
        answer = {
            "authorized": spendable >= given["amount"],
            "required": given["amount"],
            "available": spendable,
            "lendable": sum((one.lendable for one in there), given["amount"] * 0),
        }
        return Response(AuthorizationView(answer).data)
