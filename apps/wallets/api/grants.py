"""Grants over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID, uuid5

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.web.views import Reader, id_of, instant, named, one_of
from apps.customers.queries import customer_now
from apps.wallets.api.answers import (
    GrantView,
)
from apps.wallets.api.bodies import (
    GrantBody,
    RefundBody,
    VoidBody,
)
from apps.wallets.api.door import CLOCKS, CreditDoor, grant_answer
from apps.wallets.domain import (
    GrantKind,
    GrantSource,
    GrantStatus,
)
from apps.wallets.models import (
    CreditGrant,
)
from apps.wallets.operations.granting import grant_credit, refund_grant, void_grant
from apps.wallets.operations.purchasing import purchase_credit, wallet_for_credit
from apps.wallets.queries import (
    grants_of,
    unit_named,
)

_GRANT: Mapping[str, Any] = {
    "customer": "crm-4711",
    "unit": "api-credits",
    "amount": "1000",
    "category": "promotional",
    "name": "New user bonus credits",
    "expires_at": "2026-06-01T00:00:00Z",
}


class CreditGrants(CreditDoor):
    """Credit that came together."""

    serializer_class = GrantView
    money_actions: ClassVar[frozenset[str]] = frozenset({"create", "void", "refund"})
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "wallet": ("wallet_id", id_of("wal")),
        "customer": ("wallet__customer_id", id_of("cus")),
        "status": ("status", one_of(*(s.value for s in GrantStatus))),
        "category": ("kind", one_of(*(k.value for k in GrantKind))),
        "source": ("source", one_of(*(s.value for s in GrantSource))),
        "expires_before": ("expires_at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[CreditGrant]:
        return grants_of(self.tenant_id)

    @extend_schema(
        request=GrantBody,
        responses={201: GrantView},
        examples=[OpenApiExample("A bonus for new users", request_only=True, value=_GRANT)],
    )
    def create(self, request: Request) -> Response:
        """Give credit, or with category ``paid`` let it be bought.

        To a customer without a wallet in that unit or currency it opens one, settled on event if
        meters are priced in it.
        """
        given = self.read(GrantBody)
        category = given.pop("category")
        wallet, at = self._wallet_for(given)
        values = {
            name: given[name] for name in ("amount", "name", "priority", "scope", "expires_at")
        }
        common = {"tenant_id": self.tenant_id, "actor": self.actor, "at": at}
        if category == GrantKind.PAID:
            grant = purchase_credit(wallet, id=self.effect_id, **values, **common)
        else:
            grant = grant_credit(
                wallet,
                id=self.effect_id,
                **values,
                reason=given["reason"],
                effective_at=given["effective_at"],
                **common,
            )
        return grant_answer(self.tenant_id, grant.id, status.HTTP_201_CREATED)

    @extend_schema(
        request=VoidBody,
        responses=GrantView,
        examples=[
            OpenApiExample(
                "Part of it", request_only=True, value={"amount": "5.00", "reason": "given twice"}
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def void(self, _request: Request, pk: str) -> Response:
        """Take back what is left of a grant, or part of it, for a reason."""
        grant = self._grant(pk)
        given = self.read(VoidBody)
        void_grant(
            grant.id,
            id=self.effect_id,
            tenant_id=self.tenant_id,
            amount=given.get("amount"),
            reason=given["reason"],
            actor=self.actor,
            at=customer_now(grant.wallet.customer, wall=now()),
        )
        return grant_answer(self.tenant_id, grant.id, status.HTTP_200_OK)

    @extend_schema(
        request=RefundBody,
        responses=GrantView,
        examples=[OpenApiExample("He leaves", request_only=True, value={"reason": "leaves us"})],
    )
    @action(detail=True, methods=["post"])
    def refund(self, _request: Request, pk: str) -> Response:
        """Take back paid credit that is left; a credit memo gives its money to the customer."""
        grant = self._grant(pk)
        refund_grant(
            grant.id,
            tenant_id=self.tenant_id,
            reason=self.read(RefundBody)["reason"],
            actor=self.actor,
            at=customer_now(grant.wallet.customer, wall=now()),
        )
        return grant_answer(self.tenant_id, grant.id, status.HTTP_200_OK)

    def _grant(self, name: str) -> CreditGrant:
        rows = grants_of(self.tenant_id).select_related(
            *(f"wallet__customer__{clock}" for clock in CLOCKS)
        )
        found: CreditGrant = named(rows, name, own_name=None)
        return found

    def _wallet_for(self, given: Mapping[str, Any]) -> tuple[UUID, Any]:
        if "wallet" in given:
            wallet = self.wallet(given["wallet"])
            return wallet.id, customer_now(wallet.customer, wall=now())
        customer = self.customer(given["customer"])
        at = customer_now(customer, wall=now())
        unit = unit_named(self.tenant_id, given["unit"]) if "unit" in given else None
        wallet = wallet_for_credit(
            customer.id,
            id=uuid5(self.effect_id, "wallet"),
            tenant_id=self.tenant_id,
            unit=unit,
            currency=given.get("currency", ""),
            actor=self.actor,
            at=at,
        )
        return wallet.id, at
