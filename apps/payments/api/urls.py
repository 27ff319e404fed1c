"""Paths."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from apps.payments.api.views import (
    CustomerPaymentMethods,
    InvoicePayments,
    PaymentMethods,
    Payments,
)

router = SimpleRouter(trailing_slash=False)
router.register("payments", Payments, basename="payment")
router.register("payment-methods", PaymentMethods, basename="payment-method")

urlpatterns = [
    path(
        "customers/<str:pk>/payment-methods",
        CustomerPaymentMethods.as_view({"get": "list", "post": "attach"}),
    ),
    path("invoices/<str:pk>/pay", InvoicePayments.as_view({"post": "pay"})),
    path("invoices/<str:pk>/charge", InvoicePayments.as_view({"post": "charge"})),
    *router.urls,
]
