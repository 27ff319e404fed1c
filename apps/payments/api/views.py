"""Payments over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from moneyed import Money
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import PaymentDeclined
from apps.core.money import CURRENCIES
from apps.core.web.fields import StrictSerializer
from apps.core.web.views import Door, Reader, id_of, instant, named, one_of, text
from apps.customers.models import Customer
from apps.customers.queries import customer_now, customers_for
from apps.invoicing.models import Invoice
from apps.invoicing.queries import documents_of, numbered
from apps.payments.api.serializers import (
    ChargeBody,
    ChargeView,
    PayBody,
    PaymentMethodBody,
    PaymentMethodView,
    PaymentView,
)
from apps.payments.domain import IN_FLIGHT, REFUSALS, PaymentStatus
from apps.payments.models import Payment, PaymentMethod
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.methods import add_payment_method, detach, set_default
from apps.payments.operations.paying import pay_invoice
from apps.payments.providers import PROVIDERS
from apps.payments.queries import methods_of, payments_of

_CLOCKS: Final = ("test_clock", "tenant__test_clock")


class PaymentMethods(Door):
    """Customers' ways to pay."""

    resource = "payments"
    serializer_class = PaymentMethodView

    def get_queryset(self) -> QuerySet[PaymentMethod]:
        return methods_of(self.tenant_id)

    @extend_schema(request=None, responses=PaymentMethodView)
    @action(detail=True, methods=["post"], url_path="set-default")
    def set_default(self, _request: Request, pk: str) -> Response:
        """Charge this method when none is named, and when invoices are issued."""
        self.read(StrictSerializer)
        method: PaymentMethod = self.get_object()
        at = self._customer_time(method.customer_id)
        method = set_default(method.id, tenant_id=self.tenant_id, actor=self.actor, at=at)
        return Response(PaymentMethodView(method).data)

    @extend_schema(request=None, responses={200: PaymentMethodView})
    def destroy(self, _request: Request, pk: str) -> Response:
        """Use this method never again; its payments stay."""
        self.read(StrictSerializer)
        method: PaymentMethod = self.get_object()
        at = self._customer_time(method.customer_id)
        method = detach(method.id, tenant_id=self.tenant_id, actor=self.actor, at=at)
        return Response(PaymentMethodView(method).data)

    def _customer_time(self, customer_id: UUID) -> datetime:
        customer = Customer.objects.select_related(*_CLOCKS).get(id=customer_id)
        return customer_now(customer, wall=now())


class CustomerPaymentMethods(Door):
    """The ways to pay of one customer."""

    resource = "payments"
    serializer_class = PaymentMethodView

    def get_queryset(self) -> QuerySet[PaymentMethod]:
        return methods_of(self.tenant_id).filter(
            customer=self._customer(self.kwargs["pk"]), detached_at=None
        )

    def list(self, request: Request, pk: str = "") -> Response:
        """Answer a page of the customer's payment methods, newest first; not those detached."""
        return super().list(request)

    @extend_schema(
        request=PaymentMethodBody,
        responses={201: PaymentMethodView},
        examples=[
            OpenApiExample(
                "In test mode",
                request_only=True,
                value={"provider": "sandbox", "provider_ref": "sandbox_ok", "default": True},
            ),
            OpenApiExample(
                "Money by bank transfer",
                request_only=True,
                value={"provider": "external", "external_key": "bank-transfer"},
            ),
        ],
    )
    def attach(self, _request: Request, pk: str) -> Response:
        """Attach a way to pay; it is charged by default only if asked for."""
        customer = self._customer(pk)
        given = self.read(PaymentMethodBody)
        method = add_payment_method(
            customer.id,
            id=self.effect_id,
            provider=given["provider"],
            provider_ref=given["provider_ref"],
            label=given["label"],
            expires_at=given.get("expires"),
            make_default=given["default"],
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=customer_now(customer, wall=now()),
        )
        return Response(PaymentMethodView(method).data, status=status.HTTP_201_CREATED)

    def _customer(self, name: str) -> Customer:
        known = customers_for(self.tenant_id).select_related(*_CLOCKS)
        customer: Customer = named(known, name, own_name="external_id")
        return customer


class Payments(Door):
    """Attempts to collect invoices, and money that came by itself."""

    resource = "payments"
    serializer_class = PaymentView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "status": ("status", one_of(*(s.value for s in PaymentStatus))),
        "customer": ("customer_id", id_of("cus")),
        "invoice": ("invoice_id", id_of("inv")),
        "payment_method": ("method_id", id_of("pam")),
        "provider": ("provider", one_of(*PROVIDERS)),
        "currency": ("currency", one_of(*CURRENCIES)),
        "reference": ("reference", text),
        "provider_ref": ("provider_ref", text),
        "created_from": ("created_at__gte", instant),
        "created_before": ("created_at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[Payment]:
        return payments_of(self.tenant_id)


class InvoicePayments(Door):
    """Paying one invoice."""

    resource = "payments"
    serializer_class = PaymentView
    money_actions: ClassVar[frozenset[str]] = frozenset({"pay", "charge"})

    @extend_schema(
        request=PayBody,
        responses={200: PaymentView, 202: PaymentView},
        examples=[
            OpenApiExample("All that is due, by the default method", request_only=True, value={}),
            OpenApiExample(
                "Part of it, by a certain method",
                request_only=True,
                value={"payment_method": "pam_01h455vb4pex5vsknk084sn02q", "amount": "50.00"},
            ),
            OpenApiExample(
                "Money that came by bank",
                request_only=True,
                value={
                    "amount": "149.00",
                    "reference": "statement 7, line 3",
                    "received_at": "2026-05-04T00:00:00Z",
                },
            ),
        ],
    )
    def pay(self, _request: Request, pk: str) -> Response:
        """Charge a payment method, or record money that came by itself.

        200 if the money is there, 202 while the provider has not decided, 402 if it refused: the
        refused payment stays, and its invoice can be paid again under a new Idempotency-Key.
        """
        given = self.read(PayBody)
        invoice = self._invoice(pk)
        payment = pay_invoice(
            invoice,
            id=self.effect_id,
            method_id=given.get("payment_method"),
            amount=_amount(given, invoice),
            reference=given.get("reference"),
            received_at=given.get("received_at"),
            actor=self.actor,
            at=customer_now(invoice.customer, wall=now()),
        )
        return self._answer(payment, PaymentView)

    @extend_schema(
        request=ChargeBody,
        responses={200: ChargeView, 202: ChargeView},
        examples=[OpenApiExample("All that is due", request_only=True, value={})],
    )
    def charge(self, _request: Request, pk: str) -> Response:
        """Charge all that is due to the customer's default payment method; answers as ``pay``."""
        self.read(ChargeBody)
        invoice = self._invoice(pk)
        payment = charge_invoice(
            invoice.id,
            id=self.effect_id,
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=customer_now(invoice.customer, wall=now()),
        )
        return self._answer(payment, ChargeView)

    def get_queryset(self) -> QuerySet[Invoice]:
        return documents_of(self.tenant_id).select_related(
            *(f"customer__{clock}" for clock in _CLOCKS)
        )

    def _invoice(self, name: str) -> Invoice:
        invoice: Invoice = numbered(self.get_queryset(), name) or self.get_object()
        return invoice

    def _answer(self, payment: Payment, view: type[PaymentView | ChargeView]) -> Response:
        if payment.status == PaymentStatus.FAILED:
            refusal = REFUSALS.get(payment.failure_code, PaymentDeclined)
            raise refusal(
                f"{payment.failure_message or payment.failure_code} ({payment.public_id})"
            )
        shown = payments_of(self.tenant_id).select_related("invoice").get(id=payment.id)
        is_open = shown.status in IN_FLIGHT
        return Response(
            view(shown).data, status=status.HTTP_202_ACCEPTED if is_open else status.HTTP_200_OK
        )


def _amount(given: Mapping[str, Any], invoice: Invoice) -> Money | None:
    """Return the amount that is asked for; a currency without one speaks of all that is due."""
    currency = given.get("currency", invoice.currency)
    if "amount" in given:
        return Money(given["amount"], currency)
    return None if currency == invoice.currency else Money(invoice.amount_due.amount, currency)
