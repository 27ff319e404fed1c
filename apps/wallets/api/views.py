"""Wallets and credit over HTTP."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final
from uuid import UUID, uuid5

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.ids import decode, is_id
from apps.core.web.fields import StrictSerializer
from apps.core.web.views import Door, Reader, id_of, instant, named, one_of, text
from apps.customers.models import Customer
from apps.customers.queries import customer_now, customers_for
from apps.metering.queries.meters import meter_named
from apps.tenants.queries import tenant_of
from apps.wallets.api.serializers import (
    AuthorizationView,
    CaptureBody,
    ConsumeBody,
    CreditPriceBody,
    CreditPriceView,
    CreditUnitBody,
    CreditUnitView,
    GrantBody,
    GrantView,
    HoldBody,
    HoldView,
    PurchaseBody,
    RefundBody,
    SpendBody,
    SummaryView,
    TransactionView,
    VoidBody,
    WalletBody,
    WalletChanges,
    WalletRow,
    WalletView,
)
from apps.wallets.domain import (
    EntryKind,
    GrantKind,
    GrantSource,
    GrantStatus,
    HoldStatus,
    Insufficient,
    InsufficientCredit,
    Settlement,
    Thing,
    WalletStatus,
)
from apps.wallets.models import (
    CreditGrant,
    CreditHold,
    CreditPrice,
    CreditTransaction,
    CreditUnit,
    Wallet,
)
from apps.wallets.operations.granting import grant_credit, refund_grant, void_grant
from apps.wallets.operations.purchasing import open_wallet, purchase_credit, wallet_for_credit
from apps.wallets.operations.spending import (
    capture_hold,
    consume_credit,
    place_hold,
    release_hold,
)
from apps.wallets.operations.wallets import change_wallet, close_wallet, create_unit, price_meter
from apps.wallets.queries import (
    Room,
    credit_summary,
    grants_of,
    holds_of,
    prices_of,
    rooms,
    transactions_of,
    unit_named,
    units_of,
    wallet_forecast,
    wallets_of,
)

_CLOCKS: Final = ("test_clock", "tenant__test_clock")
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
_GRANT: Mapping[str, Any] = {
    "customer": "crm-4711",
    "unit": "api-credits",
    "amount": "1000",
    "category": "promotional",
    "name": "New user bonus credits",
    "expires_at": "2026-06-01T00:00:00Z",
}


class _CreditDoor(Door):
    """What the doors of credit share."""

    resource = "wallets"

    def customer(self, name: str) -> Customer:
        """Return the tenant's customer, and the clock it lives by."""
        rows = customers_for(self.tenant_id).select_related(*_CLOCKS)
        found: Customer = named(rows, name, own_name="external_id")
        return found

    def wallet(self, name: str) -> Wallet:
        """Return the tenant's wallet, with its customer's clock."""
        rows = Wallet.objects.filter(tenant_id=self.tenant_id).select_related(
            *(f"customer__{clock}" for clock in _CLOCKS)
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


class CreditUnits(_CreditDoor):
    """Credit that is no money."""

    serializer_class = CreditUnitView
    own_name = "key"

    def get_queryset(self) -> QuerySet[CreditUnit]:
        return units_of(self.tenant_id)

    @extend_schema(
        request=CreditUnitBody,
        responses={201: CreditUnitView},
        examples=[
            OpenApiExample(
                "Credits worth a tenth of a cent",
                request_only=True,
                value={
                    "key": "api-credits",
                    "name": "API credits",
                    "currency": "USD",
                    "rate": "0.001",
                },
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a unit of credit; it never changes."""
        given = self.read(CreditUnitBody)
        given.setdefault("currency", tenant_of(self.tenant_id).currency)
        unit = create_unit(self.tenant_id, id=self.effect_id, **given, actor=self.actor, at=self.at)
        return Response(CreditUnitView(unit).data, status=status.HTTP_201_CREATED)


class CreditPrices(_CreditDoor):
    """How much credit meters take, for wallets that are settled on event."""

    serializer_class = CreditPriceView

    def get_queryset(self) -> QuerySet[CreditPrice]:
        return prices_of(self.tenant_id)

    @extend_schema(
        request=CreditPriceBody,
        responses={201: CreditPriceView},
        examples=[
            OpenApiExample(
                "A credit a call",
                request_only=True,
                value={"meter": "api-calls", "unit": "api-credits", "price": "1"},
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Price the events of a meter in credit; the price never changes."""
        given = self.read(CreditPriceBody)
        unit = unit_named(self.tenant_id, given["unit"]) if "unit" in given else None
        price = price_meter(
            meter_named(self.tenant_id, given["meter"]),
            id=self.effect_id,
            unit=unit,
            currency=given.get("currency", ""),
            price=given["price"],
            actor=self.actor,
            at=self.at,
        )
        return Response(CreditPriceView(price).data, status=status.HTTP_201_CREATED)


class Wallets(_CreditDoor):
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
        return _grant_answer(self.tenant_id, grant.id, status.HTTP_201_CREATED)

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
            .select_related(*(f"customer__{clock}" for clock in _CLOCKS))
            .get(pk=wallet_id)
        )
        at = customer_now(wallet.customer, wall=now())
        wallet.forecast = wallet_forecast(wallet, at=at)  # type: ignore[attr-defined]  # for the view
        return Response(WalletView(wallet).data, status=code)


class CreditGrants(_CreditDoor):
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
        return _grant_answer(self.tenant_id, grant.id, status.HTTP_201_CREATED)

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
        return _grant_answer(self.tenant_id, grant.id, status.HTTP_200_OK)

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
        return _grant_answer(self.tenant_id, grant.id, status.HTTP_200_OK)

    def _grant(self, name: str) -> CreditGrant:
        rows = grants_of(self.tenant_id).select_related(
            *(f"wallet__customer__{clock}" for clock in _CLOCKS)
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


class CreditHolds(_CreditDoor):
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
        wallet = Wallet.objects.select_related(*(f"customer__{clock}" for clock in _CLOCKS)).get(
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
            *(f"wallet__customer__{clock}" for clock in _CLOCKS)
        )
        found: CreditHold = named(rows, name, own_name="external_id")
        return found

    def _shown(self, hold_id: UUID, code: int) -> Response:
        return Response(HoldView(holds_of(self.tenant_id).get(pk=hold_id)).data, status=code)


class CreditTransactions(_CreditDoor):
    """Every movement of credit."""

    serializer_class = TransactionView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "wallet": ("wallet_id", id_of("wal")),
        "customer": ("wallet__customer_id", id_of("cus")),
        "customer_external_id": ("wallet__customer__external_id", text),
        "type": ("kind", one_of(*(k.value for k in EntryKind))),
        "grant": ("grant_id", id_of("grt")),
        "hold": ("hold_id", id_of("hld")),
        "invoice": ("invoice_id", id_of("inv")),
        "meter": ("meter__key", text),
        "unit": ("wallet__unit__key", text),
        "from": ("at__gte", instant),
        "before": ("at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[CreditTransaction]:
        return transactions_of(self.tenant_id)

    def list(self, request: Request) -> Response:
        """Answer a page of transactions, newest first, and how many there are in all."""
        answer = super().list(request)
        answer.data["total"] = self.filter_queryset(self.get_queryset()).count()
        return answer


class Authorizations(_CreditDoor):
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


class CustomerCredit(_CreditDoor):
    """All credit of one customer."""

    serializer_class = SummaryView

    @extend_schema(responses=SummaryView)
    def summary(self, _request: Request, pk: str) -> Response:
        """Answer what a customer has, by unit and currency."""
        customer = self.customer(pk)
        at = customer_now(customer, wall=now())
        answer = {"customer": customer.id, "credits": credit_summary(customer.id, at=at)}
        return Response(SummaryView(answer).data)


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


def _grant_answer(tenant_id: UUID, grant_id: UUID, code: int) -> Response:
    return Response(GrantView(grants_of(tenant_id).get(pk=grant_id)).data, status=code)
