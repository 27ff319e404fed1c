"""Wallets over HTTP."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.web.fields import StrictSerializer
from apps.core.web.views import Reader, id_of, one_of, text
from apps.customers.queries import customer_now
from apps.wallets.api.answers import (
    GrantView,
    TransactionView,
    WalletRow,
    WalletView,
)
from apps.wallets.api.bodies import (
    ConsumeBody,
    PurchaseBody,
    WalletBody,
    WalletChanges,
)
from apps.wallets.api.door import CLOCKS, CreditDoor, grant_answer
from apps.wallets.domain import (
    Insufficient,
    Settlement,
    Thing,
    WalletStatus,
)
from apps.wallets.models import (
    Wallet,
)
from apps.wallets.operations.purchasing import open_wallet, purchase_credit
from apps.wallets.operations.spending import (
    consume_credit,
)
from apps.wallets.operations.wallets import change_wallet, close_wallet
from apps.wallets.queries import (
    unit_named,
    wallet_forecast,
    wallets_of,
)

_WALLET: Mapping[str, Any] = {
    "customer": "crm-4711",
    "currency": "USD",
    "initial_credit": {
        "kind": "paid",
        "amount": "10.00",
        "expires_at": "2026-12-31T00:00:00Z",
    },
    "top_off": {
        "kind": "target",
        "amount": "10.00",
        "low_watermark": "5.00",
        "expires_after": {"unit": "month", "count": 3},
    },
}


class Wallets(CreditDoor):
    """Prepaid and promotional credit of customers."""

    serializer_class = WalletRow
    own_name = "external_id"
    money_actions: ClassVar[frozenset[str]] = frozenset({"purchases", "consume"})
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "customer": ("customer_id", id_of("cus")),
        "customer_external_id": ("customer__external_id", text),
        "external_id": ("external_id", text),
        "status": ("status", one_of(*(s.value for s in WalletStatus))),
        "settlement": ("settlement", one_of(*(s.value for s in Settlement))),
        "currency": ("currency", text),
        "unit": ("unit__key", text),
    }

    def get_queryset(self) -> QuerySet[Wallet]:
        return wallets_of(self.tenant_id)

    @extend_schema(
        request=WalletBody,
        responses={201: WalletView},
        examples=[
            OpenApiExample("Paid credit that tops itself off", request_only=True, value=_WALLET)
        ],
    )
    def create(self, request: Request) -> Response:
        """Open a wallet; initial paid credit is there once the invoice for it is paid."""
        given = self.read(WalletBody)
        customer = self.customer(given.pop("customer"))
        values = _wallet_values(given)
        if "unit" in given:
            values["unit"] = unit_named(self.tenant_id, given["unit"])
        wallet = open_wallet(
            customer.id,
            id=self.effect_id,
            tenant_id=self.tenant_id,
            initial=given.get("initial_credit"),
            settlement=Settlement(given["settlement"]),
            insufficient=Insufficient(given["insufficient"]),
            overdraft_limit=given["overdraft_limit"],
            **values,
            actor=self.actor,
            at=customer_now(customer, wall=now()),
        )
        return self._shown(wallet.id, status.HTTP_201_CREATED)

    @extend_schema(responses=WalletView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer a wallet, with what it has and when it will be empty."""
        wallet: Wallet = self.get_object()
        return self._shown(wallet.id, status.HTTP_200_OK)

    @extend_schema(
        request=WalletChanges,
        responses=WalletView,
        examples=[OpenApiExample("Stop topping off", request_only=True, value={"top_off": None})],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change a wallet's name, priority, reminder or top-off rule."""
        wallet = self.wallet(pk)
        given = self.read(WalletChanges)
        values = _wallet_values(given)
        change_wallet(
            wallet.id,
            tenant_id=self.tenant_id,
            drop_top_off="top_off" in given and given["top_off"] is None,
            **values,
            actor=self.actor,
            at=customer_now(wallet.customer, wall=now()),
        )
        return self._shown(wallet.id, status.HTTP_200_OK)

    @extend_schema(request=None, responses=WalletView)
    @action(detail=True, methods=["post"])
    def close(self, _request: Request, pk: str) -> Response:
        """Close an empty wallet for good."""
        self.read(StrictSerializer)
        wallet = self.wallet(pk)
        at = customer_now(wallet.customer, wall=now())
        close_wallet(wallet.id, tenant_id=self.tenant_id, actor=self.actor, at=at)
        return self._shown(wallet.id, status.HTTP_200_OK)

    @extend_schema(
        request=PurchaseBody,
        responses={201: GrantView},
        examples=[OpenApiExample("50 more", request_only=True, value={"amount": "50.00"})],
    )
    @action(detail=True, methods=["post"])
    def purchases(self, _request: Request, pk: str) -> Response:
        """Buy credit: an invoice is issued and collected, and the credit is there once it is paid."""
        wallet = self.wallet(pk)
        grant = purchase_credit(
            wallet.id,
            id=self.effect_id,
            tenant_id=self.tenant_id,
            **self.read(PurchaseBody),
            actor=self.actor,
            at=customer_now(wallet.customer, wall=now()),
        )
        return grant_answer(self.tenant_id, grant.id, status.HTTP_201_CREATED)

    @extend_schema(
        request=ConsumeBody,
        responses=TransactionView(many=True),
        examples=[
            OpenApiExample(
                "One generation", request_only=True, value={"amount": "0.25", "meter": "images"}
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def consume(self, _request: Request, pk: str) -> Response:
        """Spend credit at once, all or nothing; 402 if there is not enough."""
        wallet = self.wallet(pk)
        given = self.read(ConsumeBody)
        entries = consume_credit(
            wallet.id,
            id=self.effect_id,
            tenant_id=self.tenant_id,
            amount=given["amount"],
            thing=Thing(meter=given["meter"]),
            reason=given["reason"],
            actor=self.actor,
            at=customer_now(wallet.customer, wall=now()),
        )
        return Response({"object": "list", "data": TransactionView(entries, many=True).data})

    def _shown(self, wallet_id: UUID, code: int) -> Response:
        wallet = (
            wallets_of(self.tenant_id)
            .select_related(*(f"customer__{clock}" for clock in CLOCKS))
            .get(pk=wallet_id)
        )
        at = customer_now(wallet.customer, wall=now())
        wallet.forecast = wallet_forecast(wallet, at=at)  # type: ignore[attr-defined]  # for the view
        return Response(WalletView(wallet).data, status=code)


def _wallet_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the operation is told of what a wallet's body says."""
    same = ("external_id", "name", "currency", "priority", "scope")
    values = {name: given[name] for name in same if name in given}
    if "remind_before_days" in given:
        days = given["remind_before_days"]
        values["remind_before"] = None if days is None else timedelta(days=days)
    if given.get("top_off") is not None:
        values["top_off"] = given["top_off"]
    return values
