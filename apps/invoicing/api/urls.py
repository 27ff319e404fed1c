"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.invoicing.api.backtests import BacktestCustomers, Backtests
from apps.invoicing.api.simulations import Simulations
from apps.invoicing.api.views import InvoiceEvents, InvoiceLines, Invoices

router = SimpleRouter(trailing_slash=False)
router.register("invoices", Invoices, basename="invoice")
router.register("backtests", Backtests, basename="backtest")

_LINE = "invoices/<str:pk>/lines/<str:line>"

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("simulations/invoice", Simulations.as_view({"post": "invoice"})),
    path("backtests/<str:pk>/customers.csv", Backtests.as_view({"get": "csv"})),
    path("backtests/<str:pk>/customers", BacktestCustomers.as_view({"get": "list"})),
    path("invoices/<str:pk>/events", InvoiceEvents.as_view({"get": "log"})),
    path(f"{_LINE}/explain", InvoiceLines.as_view({"get": "explain"})),
    path(f"{_LINE}/verify", InvoiceLines.as_view({"get": "verify"})),
    path(f"{_LINE}/usage-events", InvoiceLines.as_view({"get": "usage_events"})),
]
