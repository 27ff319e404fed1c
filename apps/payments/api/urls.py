"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.payments.api.disputes import Disputes, PaymentDisputes
from apps.payments.api.refunds import MemoRefunds, PaymentRefunds, Refunds
from apps.payments.api.views import (
    CustomerPaymentMethods,
    InvoicePayments,
    PaymentMethods,
    Payments,
)

router = SimpleRouter(trailing_slash=False)
router.register("payments", Payments, basename="payment")
router.register("refunds", Refunds, basename="refund")
router.register("disputes", Disputes, basename="dispute")
router.register("payment-methods", PaymentMethods, basename="payment-method")

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "customers/<str:pk>/payment-methods",
        CustomerPaymentMethods.as_view({"get": "list", "post": "attach"}),
        name="customer-payment-methods",
    ),
    path("invoices/<str:pk>/pay", InvoicePayments.as_view({"post": "pay"}), name="invoice-pay"),
    path(
        "invoices/<str:pk>/charge",
        InvoicePayments.as_view({"post": "charge"}),
        name="invoice-charge",
    ),
    path(
        "payments/<str:pk>/refunds",
        PaymentRefunds.as_view({"post": "refund"}),
        name="payment-refund",
    ),
    path(
        "payments/<str:pk>/disputes",
        PaymentDisputes.as_view({"post": "dispute"}),
        name="payment-dispute",
    ),
    path(
        "credit-memos/<str:pk>/refund",
        MemoRefunds.as_view({"post": "refund"}),
        name="credit-memo-refund",
    ),
    *router.urls,
]
