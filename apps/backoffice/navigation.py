"""The sidebar of the desk: what can be looked at, in the order of the work."""

from typing import Any, Final

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from apps.tenants.desk import Desk

# title -> (model, icon), …
_GROUPS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "Billing": (
        ("customers.customer", "groups"),
        ("subscriptions.subscription", "autorenew"),
        ("wallets.wallet", "wallet"),
        ("invoicing.invoice", "receipt_long"),
        ("payments.payment", "payments"),
        ("payments.refund", "currency_exchange"),
        ("payments.dispute", "gavel"),
        ("payments.collection", "forward_to_inbox"),
        ("payments.paymentmethod", "credit_card"),
    ),
    "Usage": (
        ("metering.meter", "speed"),
        ("metering.eventstream", "stream"),
        ("metering.orphanevent", "help_center"),
        ("metering.eventamendment", "edit_note"),
        ("metering.usagerollup", "stacked_bar_chart"),
    ),
    "Credit": (
        ("wallets.creditgrant", "redeem"),
        ("wallets.credithold", "back_hand"),
        ("wallets.credittransaction", "swap_vert"),
        ("wallets.creditunit", "token"),
        ("wallets.creditprice", "price_change"),
        ("wallets.topoffrule", "currency_exchange"),
    ),
    "Catalog": (
        ("catalog.product", "inventory_2"),
        ("catalog.plan", "sell"),
        ("catalog.planversion", "history"),
        ("catalog.pricelist", "price_change"),
        ("invoicing.backtest", "history_toggle_off"),
        ("taxes.taxrate", "percent"),
    ),
    "Books": (
        ("ledger.journalentry", "menu_book"),
        ("ledger.ledgeraccount", "account_balance_wallet"),
        ("backoffice.bookscheck", "fact_check"),
        ("core.auditevent", "policy"),
    ),
    "Machinery": (
        ("core.job", "engineering"),
        ("invoicing.parkedcustomer", "local_parking"),
        ("django_celery_beat.periodictask", "schedule"),
        ("core.heartbeat", "monitor_heart"),
    ),
    "People": (
        ("tenants.tenant", "apartment"),
        ("tenants.membership", "badge"),
        ("tenants.operator", "person"),
        ("tenants.apikey", "key"),
        ("tenants.testclock", "more_time"),
    ),
}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups with the pages that the operator may open; the tenant chosen stays."""
    tenant = request.GET.get("tenant", "")
    query = f"?tenant={tenant}" if tenant.isascii() and tenant.replace("_", "").isalnum() else ""
    groups: list[dict[str, Any]] = [
        {
            "items": [
                {
                    "title": "Dashboard",
                    "icon": "dashboard",
                    "link": f"{reverse('admin:index')}{query}",
                }
            ]
        }
    ]
    for title, pages in _GROUPS.items():
        items = []
        for label, icon in pages:
            model = apps.get_model(label)
            page = admin.site.get_model_admin(model)
            if isinstance(page, Desk) and page.has_module_permission(request):
                url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
                items.append(
                    {
                        "title": page.title(),
                        "icon": icon,
                        "link": url + query,
                    }
                )
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    return groups
