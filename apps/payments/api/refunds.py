"""Paying money back over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from moneyed import Money
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.money import CURRENCIES
from apps.core.web.views import Door, Reader, id_of, instant, one_of, text
from apps.customers.queries import customer_now
from apps.invoicing.models import Invoice
from apps.invoicing.queries import documents_of, numbered
from apps.payments.api.serializers import PayBackBody, PayMemoBackBody, RefundView
from apps.payments.domain import REFUND_OPEN, REFUSALS, RefundRefused, RefundStatus
from apps.payments.models import Payment, Refund
from apps.payments.operations.refunding import ByHand, refund_memo, refund_payment
from apps.payments.providers import PROVIDERS
from apps.payments.queries import payments_of, refunds_of

_CLOCKS: Final = ("customer__test_clock", "customer__tenant__test_clock")


class Refunds(Door):
    """Money that was paid back, is being paid back, or could not be."""

    resource = "payments"
    serializer_class = RefundView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "status": ("status", one_of(*(s.value for s in RefundStatus))),
        "customer": ("customer_id", id_of("cus")),
        "payment": ("payment_id", id_of("pay")),
        "provider": ("provider", one_of(*PROVIDERS)),
        "currency": ("currency", one_of(*CURRENCIES)),
        "reference": ("reference", text),
        "created_from": ("created_at__gte", instant),
        "created_before": ("created_at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[Refund]:
        return refunds_of(self.tenant_id)


class PaymentRefunds(Door):
    """Paying back one payment."""

    resource = "payments"
    serializer_class = RefundView
    money_actions: ClassVar[frozenset[str]] = frozenset({"refund"})

    def get_queryset(self) -> QuerySet[Payment]:
        return payments_of(self.tenant_id).select_related(*_CLOCKS)

    @extend_schema(
        request=PayBackBody,
        responses={200: RefundView, 202: RefundView},
        examples=[
            OpenApiExample(
                "All that can be", request_only=True, value={"reason": "The service was down."}
            ),
            OpenApiExample(
                "Part of it",
                request_only=True,
                value={"amount": "10.00", "reason": "Goodwill for the outage in May."},
            ),
            OpenApiExample(
                "Paid back by bank",
                request_only=True,
                value={
                    "amount": "10.00",
                    "reason": "Paid twice.",
                    "reference": "statement 9, line 1",
                    "paid_at": "2026-05-06T00:00:00Z",
                },
            ),
        ],
    )
    def refund(self, _request: Request, pk: str) -> Response:
        """Pay a payment back, or part of it, to where it came from.

        200 if the money is back, 202 while the provider has not decided, 402 if it refused: the
        refused refund stays, what it took is the customer's again, and another one can be made
        under a new Idempotency-Key. Credit memos are made for what is not owed already.
        """
        given = self.read(PayBackBody)
        payment: Payment = self.get_object()
        refund = refund_payment(
            payment.id,
            id=self.effect_id,
            amount=_amount(given, payment.currency),
            memo_id=given.get("credit_memo"),
            reason=given["reason"],
            by_hand=_by_hand(given),
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=customer_now(payment.customer, wall=now()),
        )
        _refuse_failed([refund])
        shown = refunds_of(self.tenant_id).get(id=refund.id)
        return Response(RefundView(shown).data, status=_status([shown]))


class MemoRefunds(Door):
    """Paying back what one credit memo has left."""

    resource = "payments"
    serializer_class = RefundView
    money_actions: ClassVar[frozenset[str]] = frozenset({"refund"})

    def get_queryset(self) -> QuerySet[Invoice]:
        return documents_of(self.tenant_id).select_related(*_CLOCKS)

    @extend_schema(
        request=PayMemoBackBody,
        responses={200: RefundView(many=True), 202: RefundView(many=True)},
        examples=[
            OpenApiExample(
                "All that it has left", request_only=True, value={"reason": "The customer left."}
            )
        ],
    )
    def refund(self, _request: Request, pk: str) -> Response:
        """Pay back what a credit memo has left, to as many payments as it takes.

        Answers the list of refunds: 200 if all are decided, 202 while one is not, 402 if all were
        refused; then the memo has its money again.
        """
        given = self.read(PayMemoBackBody)
        memo: Invoice = numbered(self.get_queryset(), pk) or self.get_object()
        refunds = refund_memo(
            memo.id,
            id=self.effect_id,
            payment_id=given.get("payment"),
            amount=_amount(given, memo.currency),
            reason=given["reason"],
            by_hand=_by_hand(given),
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=customer_now(memo.customer, wall=now()),
        )
        _refuse_failed(refunds)
        shown = self._in_order([one.id for one in refunds])
        body = {
            "object": "list",
            "data": RefundView(shown, many=True).data,
            "has_more": False,
            "next_cursor": None,
        }
        return Response(body, status=_status(shown))

    def _in_order(self, ids: Sequence[UUID]) -> list[Refund]:
        found = refunds_of(self.tenant_id).in_bulk(list(ids))
        return [found[one] for one in ids]


def _amount(given: Mapping[str, Any], currency: str) -> Money | None:
    """Return the amount that is asked for; None is all that can be."""
    if "amount" in given:
        return Money(given["amount"], given.get("currency", currency))
    return None


def _by_hand(given: Mapping[str, Any]) -> ByHand | None:
    if "reference" in given or "paid_at" in given:
        return ByHand(reference=given.get("reference"), paid_at=given.get("paid_at"))
    return None


def _refuse_failed(refunds: Sequence[Refund]) -> None:
    if all(one.status == RefundStatus.FAILED for one in refunds):
        last = refunds[-1]
        refusal = REFUSALS.get(last.failure_code, RefundRefused)
        raise refusal(f"{last.failure_message or last.failure_code} ({last.public_id})")


def _status(refunds: Sequence[Refund]) -> int:
    is_open = any(one.status in REFUND_OPEN for one in refunds)
    return status.HTTP_202_ACCEPTED if is_open else status.HTTP_200_OK
