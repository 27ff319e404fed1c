"""Disputes over HTTP."""

from collections.abc import Mapping
from typing import ClassVar, Final

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from moneyed import Money
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.money import CURRENCIES
from apps.core.web.views import Door, Reader, id_of, instant, one_of, text
from apps.customers.queries import customer_now
from apps.payments.api.serializers import DecisionBody, DisputeBody, DisputeView
from apps.payments.domain import DisputeStatus
from apps.payments.models import Dispute, Payment
from apps.payments.operations.disputing import Claim, lose_dispute, open_dispute, win_dispute
from apps.payments.providers import PROVIDERS
from apps.payments.queries import disputes_of, payments_of

_CLOCKS: Final = ("customer__test_clock", "customer__tenant__test_clock")
_decided = extend_schema(
    request=DecisionBody,
    responses=DisputeView,
    examples=[
        OpenApiExample(
            "As the bank told it", request_only=True, value={"reason": "The evidence sufficed."}
        )
    ],
)


class Disputes(Door):
    """Money that customers had their banks take back."""

    resource = "payments"
    serializer_class = DisputeView
    money_actions: ClassVar[frozenset[str]] = frozenset({"win", "lose"})
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "status": ("status", one_of(*(s.value for s in DisputeStatus))),
        "customer": ("customer_id", id_of("cus")),
        "payment": ("payment_id", id_of("pay")),
        "provider": ("provider", one_of(*PROVIDERS)),
        "currency": ("currency", one_of(*CURRENCIES)),
        "reference": ("reference", text),
        "opened_from": ("opened_at__gte", instant),
        "opened_before": ("opened_at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[Dispute]:
        return disputes_of(self.tenant_id).select_related(*_CLOCKS)

    @_decided
    @action(detail=True, methods=["post"])
    def win(self, _request: Request, pk: str) -> Response:
        """Record that the provider has brought the money back; 409 if the dispute was lost."""
        given = self.read(DecisionBody)
        dispute: Dispute = self.get_object()
        dispute = win_dispute(
            dispute.id,
            reason=given["reason"],
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=customer_now(dispute.customer, wall=now()),
        )
        return Response(DisputeView(dispute).data)

    @_decided
    @action(detail=True, methods=["post"])
    def lose(self, _request: Request, pk: str) -> Response:
        """Record that the money stays gone; 409 if the dispute was won."""
        given = self.read(DecisionBody)
        dispute: Dispute = self.get_object()
        dispute = lose_dispute(
            dispute.id,
            reason=given["reason"],
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=customer_now(dispute.customer, wall=now()),
        )
        return Response(DisputeView(dispute).data)


class PaymentDisputes(Door):
    """Disputing one payment."""

    resource = "payments"
    serializer_class = DisputeView
    money_actions: ClassVar[frozenset[str]] = frozenset({"dispute"})

    def get_queryset(self) -> QuerySet[Payment]:
        return payments_of(self.tenant_id).select_related(*_CLOCKS)

    @extend_schema(
        request=DisputeBody,
        responses={201: DisputeView},
        examples=[
            OpenApiExample(
                "All that is left of it", request_only=True, value={"reference": "case 4711"}
            ),
            OpenApiExample(
                "Part of it, with a fee",
                request_only=True,
                value={
                    "reference": "case 4711",
                    "amount": "20.00",
                    "fee": "15.00",
                    "reason": "Not recognised by the holder of the card.",
                    "evidence_due_at": "2026-06-01T00:00:00Z",
                },
            ),
        ],
    )
    def dispute(self, _request: Request, pk: str) -> Response:
        """Record that money of a payment was withdrawn from you because it is disputed.

        The same reference again answers the same dispute. Providers that tell of disputes
        themselves are asked; this is for all that you hear of otherwise, such as by bank.
        """
        given = self.read(DisputeBody)
        payment: Payment = self.get_object()
        currency = given.get("currency", payment.currency)
        dispute = open_dispute(
            payment.id,
            Claim(
                reference=given["reference"],
                amount=Money(given["amount"], currency) if "amount" in given else None,
                fee=Money(given["fee"], currency) if "fee" in given else None,
                reason=given["reason"],
                evidence_due_at=given.get("evidence_due_at"),
            ),
            id=self.effect_id,
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=customer_now(payment.customer, wall=now()),
        )
        return Response(DisputeView(dispute).data, status=status.HTTP_201_CREATED)
