"""Customers on the desk."""

from django.contrib import admin

from apps.customers.models import Customer, TaxId
from apps.tenants.desk import Desk, DeskInline, choice, instant, link, plain


class TaxIdInline(DeskInline):
    model = TaxId
    resource = "customers"
    columns = (plain("kind"), plain("value"))


@admin.register(Customer)
class CustomerDesk(Desk):
    resource = "customers"
    list_display = (
        plain("name"),
        plain("external_id"),
        plain("email", "e-mail"),
        plain("currency"),
        plain("zone", "time zone"),
        choice("tax_exempt", "tax"),
        instant("created_at", "since"),
    )
    list_filter = ("currency", "tax_exempt")
    search_fields = ("name", "external_id", "email")
    related = ("test_clock", "tenant")
    inlines = (TaxIdInline,)
    when_empty = "Customers come from your product: POST /api/v1/customers."


@admin.register(TaxId)
class TaxIdDesk(Desk):
    resource = "customers"
    list_display = (plain("value"), plain("kind"), link("customer"))
    list_filter = ("kind",)
    search_fields = ("value", "customer__name")
    related = ("customer",)
    ordering = ("-id",)
