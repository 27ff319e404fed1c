"""The first page of the desk: how business and machinery stand, each number with its list."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from apps.backoffice.queries import figures, installation
from apps.core.clock import now
from apps.core.tenancy import current_tenant
from apps.tenants.desk import Bar, NamedChart, amount_text, bar_chart, instant_text, rights_of
from apps.tenants.models import Tenant
from apps.tenants.queries import tenant_now, tenant_of

_CHARTS: Final = 4

# what is still to be done before the first invoice: step -> what to do, and where to read how
_STEPS: Final = {
    "api_key": "Make an API key: ./dev manage create_api_key, or POST /api/v1/api-keys",
    "meter": "Say what to measure: POST /api/v1/meters",
    "plan": "Say what it costs: POST /api/v1/catalog, then publish the version",
    "customer": "Tell who is billed: POST /api/v1/customers",
    "subscription": "Let the customer subscribe: POST /api/v1/subscriptions",
    "payment_method": "Say how he pays: POST /api/v1/customers/{id}/payment-methods",
    "invoice": "Send usage, then bill it: POST /api/v1/events, POST /api/v1/invoices",
}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the figures of the tenant in whose scope the desk is."""
    rights = rights_of(request)
    readable = [one for one in rights.tenants if rights.may("invoices", "read", one)]
    chosen = current_tenant()
    context |= {
        "title": "Dashboard",
        "tenants": [rights.tenants[one] for one in readable],
        "machinery": _machinery(),
    }
    if chosen not in readable:
        return context
    tenant = tenant_of(chosen)
    wall = now()
    at = tenant_now(tenant, wall=wall)
    return context | _business(tenant, at, wall)


def _business(tenant: Tenant, at: datetime, wall: datetime) -> dict[str, Any]:
    months = figures.invoiced_by_month(tenant.id, figures.month_starts(at, tenant.zone))
    open_, late = figures.owed(tenant.id)
    counts = figures.counts(tenant.id)
    check = figures.last_books_check(tenant.id)
    steps = figures.first_steps(tenant.id)
    # the tenant's own currency first
    currencies = sorted(months, key=lambda one: (one != tenant.currency, one))
    return {
        "tenant": tenant,
        "tenant_at": instant_text(at),
        "on_clock": tenant.test_clock,
        "charts": [_chart(tenant, one, months[one]) for one in currencies[:_CHARTS]],
        "other_currencies": currencies[_CHARTS:],
        "money": [
            _money_card(
                "Receivable",
                open_,
                tenant,
                {"kind__exact": "invoice", "status__in": "issued,partially_paid,overdue"},
                "Nobody owes anything.",
            ),
            _money_card(
                "Overdue", late, tenant, {"status__exact": "overdue"}, "Nobody is late.", wrong=True
            ),
        ],
        "business": [
            _card(
                "Active subscriptions",
                counts.active_subscriptions,
                tenant,
                "subscriptions_subscription",
                {"status__exact": "active"},
            ),
            _card("Customers", counts.customers, tenant, "customers_customer", {}),
            _card("Drafts", counts.drafts, tenant, "invoicing_invoice", {"status__exact": "draft"}),
        ],
        "attention": [
            _card(
                "Orphan events",
                counts.orphans,
                tenant,
                "metering_orphanevent",
                {"status__exact": "open"},
                note="usage that matched nothing",
                wrong=True,
            ),
            _card(
                "Parked customers",
                counts.parked,
                tenant,
                "invoicing_parkedcustomer",
                {},
                note="their billing run failed",
                wrong=True,
            ),
            _card(
                "Payments unknown",
                counts.unknown_payments,
                tenant,
                "payments_payment",
                {"status__exact": "unknown"},
                note="the provider is being asked",
                wrong=True,
            ),
            _card(
                "Jobs failing",
                counts.failing_jobs,
                tenant,
                "core_job",
                {"state__exact": "pending", "attempts__gt": "0"},
                note="they will be tried again",
                wrong=True,
            ),
            _card(
                "Jobs dead",
                counts.dead_jobs,
                tenant,
                "core_job",
                {"state__exact": "dead"},
                note="look at the reason, then revive",
                wrong=True,
            ),
        ],
        "books": {
            "href": _list("backoffice_bookscheck", tenant, {}),
            "ago": ago(wall - check.checked_at) if check else "",
            "breaches": check.breaches if check else 0,
        },
        "steps": []
        if steps["invoice"]
        else [{"text": text, "done": steps[name]} for name, text in _STEPS.items()],
    }


def _machinery() -> dict[str, Any]:
    wall = now()
    beaten = installation.last_heartbeat()
    return {
        "beaten": beaten is not None,
        "ago": ago(wall - beaten) if beaten else "",
        "late": beaten is None or wall - beaten >= installation.HEARTBEAT_LATE,
    }


def _chart(tenant: Tenant, currency: str, months: tuple[figures.Month, ...]) -> NamedChart:
    bars = [
        Bar(
            label=f"{month.starts_at:%b}"
            + (f"{month.starts_at: %y}" if month.starts_at.month == 1 else ""),
            value=month.amount,
            text=f"{month.starts_at:%B %Y}: {amount_text(month.amount, currency)}"
            f" on {month.count} documents",
            href=_list(
                "invoicing_invoice",
                tenant,
                {
                    "issued_at__gte": month.starts_at.astimezone(UTC).isoformat(),
                    "issued_at__lt": month.ends_at.astimezone(UTC).isoformat(),
                    "currency__exact": currency,
                },
            ),
        )
        for month in months
    ]
    total = sum((month.amount for month in months), start=months[0].amount * 0)
    return NamedChart(
        f"Invoiced in {currency}, by month",
        f"{amount_text(total, currency)} in twelve months",
        bar_chart(bars),
    )


def _card(
    title: str,
    count: int,
    tenant: Tenant,
    page: str,
    query: dict[str, str],
    *,
    note: str = "",
    wrong: bool = False,
) -> dict[str, Any]:
    return {
        "title": title,
        "lines": [f"{count:,}"],
        "note": note,
        "href": _list(page, tenant, query),
        "tone": "wrong" if wrong and count else "plain",
    }


def _money_card(
    title: str,
    sums: list[figures.Sums],
    tenant: Tenant,
    query: dict[str, str],
    nothing: str,
    *,
    wrong: bool = False,
) -> dict[str, Any]:
    invoices = sum(one.count for one in sums)
    return {
        "title": title,
        "lines": [amount_text(one.amount, one.currency) for one in sums]
        or [amount_text(figures.NOTHING, tenant.currency)],
        "note": f"{invoices:,} invoices" if sums else nothing,
        "href": _list("invoicing_invoice", tenant, query),
        "tone": "wrong" if wrong and sums else "plain",
    }


def _list(page: str, tenant: Tenant, query: dict[str, str]) -> str:
    path = reverse(f"admin:{page}_changelist")
    return f"{path}?{urlencode({'tenant': tenant.public_id, **query})}"


def ago(span: timedelta) -> str:
    """Return how long ago something was, such as ``3 minutes ago``."""
    seconds = max(int(span.total_seconds()), 0)
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {word}{'s' if count > 1 else ''} ago"
    return f"{seconds} seconds ago"
