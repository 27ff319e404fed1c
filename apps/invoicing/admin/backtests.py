"""Backtests on the desk: started from a plan version, watched, and read."""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from apps.catalog.models import Plan, PlanVersion
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.ids import decode, encode, is_id
from apps.customers.models import Customer
from apps.invoicing.domain import MOST_BACKTEST_PERIODS, BacktestOutcome, BacktestStatus
from apps.invoicing.models import Backtest, BacktestCustomer
from apps.invoicing.operations.backtesting import Trial, begin_backtest, cancel_backtest
from apps.invoicing.queries.backtests import (
    BacktestTotal,
    Spread,
    backtest_csv,
    backtest_failures,
    backtest_movers,
    backtest_spreads,
    backtest_summary,
)
from apps.tenants.desk import (
    Bar,
    By,
    Desk,
    Download,
    NamedChart,
    Verb,
    amount,
    amount_text,
    bar_chart,
    choice,
    ident,
    instant,
    link,
    named,
    offer,
    plain,
    round_step,
    short_text,
    status,
)
from apps.tenants.models import Tenant
from apps.tenants.queries import tenant_now

_LOOK_AGAIN: Final = 3  # seconds
_PARTS: Final = 10  # of a chart, at most, besides those beyond its ends
_MOVERS: Final = 10
_FAILURES: Final = 20
_ZERO: Final = Decimal(0)


class BacktestForm(forms.Form):
    """Over how many periods, in place of what, and for whom."""

    periods = forms.IntegerField(
        label="Closed billing periods",
        min_value=1,
        max_value=MOST_BACKTEST_PERIODS,
        initial=3,
        help_text="The last ones of each subscription.",
    )
    from_plan = forms.CharField(
        label="Instead of the plan",
        required=False,
        max_length=255,
        help_text="A plan's key. Leave it empty for all versions of this one.",
    )
    customers = forms.CharField(
        label="Customers",
        required=False,
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Ids or your own, a line each. Leave it empty for all who had the plan.",
    )


def _start(version: PlanVersion, by: By) -> Backtest:
    tenant = Tenant.objects.select_related("test_clock").get(pk=version.tenant_id)
    key = by.given["from_plan"].strip()
    was = version.plan_id
    if key:
        plan = Plan.objects.filter(tenant=tenant, key=key).first()
        if plan is None:
            raise NotFound(f"There is no plan {key}.", field="from_plan")
        was = plan.pk
    names = [one for one in re.split(r"[\s,;]+", by.given["customers"]) if one]
    trial = Trial(
        version.pk,
        from_plan_id=was,
        periods=by.given["periods"],
        customer_ids=_customers(tenant, names) if names else None,
    )
    at = tenant_now(tenant, wall=now())
    return begin_backtest(tenant.pk, trial, id=by.effect_id, actor=by.actor, at=at)


def _customers(tenant: Tenant, names: Sequence[str]) -> set[Any]:
    ids = {decode("cus", one): one for one in names if is_id("cus", one)}
    rows = Customer.objects.filter(Q(pk__in=ids) | Q(external_id__in=names), tenant=tenant)
    found = dict(rows.values_list("pk", "external_id"))
    known = {ids[pk] for pk in found if pk in ids} | set(found.values())
    missing = [one for one in names if one not in known]
    if missing:
        raise NotFound(f"There are no such customers: {', '.join(missing[:20])}.")
    return set(found)


offer(
    PlanVersion,
    verbs=(
        Verb(
            name="backtest",
            label="Backtest",
            icon="history_toggle_off",
            resource="invoices",
            run=_start,
            warning="Replays what was really used in past periods at the prices of this version."
            " Nobody is billed and nothing is changed.",
            form=BacktestForm,
            leads_on=True,
        ),
    ),
)


def _cancel(backtest: Backtest, by: By) -> None:
    tenant = Tenant.objects.select_related("test_clock").get(pk=backtest.tenant_id)
    at = tenant_now(tenant, wall=now())
    cancel_backtest(backtest.pk, tenant_id=tenant.pk, actor=by.actor, at=at)


def _csv(backtest: Backtest) -> tuple[str, str, bytes]:
    return f"{backtest.public_id}.csv", "text/csv", backtest_csv(backtest.pk).encode()


@admin.register(Backtest)
class BacktestDesk(Desk):
    resource = "invoices"
    list_display = (
        named("backtest"),
        status(),
        link("plan_version", "tested"),
        link("from_plan", "instead of"),
        plain("periods"),
        plain("done", "customers done"),
        plain("customers", "of"),
        instant("created_at", "begun"),
    )
    list_filter = ("status",)
    search_fields = ("plan_version__plan__key", "from_plan__key")
    related = ("plan_version__plan", "from_plan", "from_version__plan")
    detail = (
        ident(),
        status(),
        link("plan_version", "tested"),
        (link("from_plan", "instead of"), link("from_version", "of it only")),
        plain("periods", "closed periods of each"),
        plain("reason"),
        instant("created_at", "begun"),
        instant("ended_at", "ended"),
    )
    ordering = ("-id",)
    change_form_before_template = "desk/backtest.html"
    downloads = (Download(name="csv", label="CSV", icon="table_view", read=_csv),)
    verbs = (
        Verb(
            name="cancel",
            label="Cancel",
            icon="cancel",
            resource="invoices",
            run=_cancel,
            fits=lambda row: row.status == BacktestStatus.RUNNING,
            warning="What was found until then stays; it cannot be continued.",
        ),
    )
    when_empty = (
        "Open a version of a plan, a draft for example, and choose Backtest; or POST"
        " /api/v1/backtests."
    )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **more: Any
    ) -> HttpResponse:
        """Show how far it has come and what it has found; a running one is looked at again."""
        backtest: Backtest | None = more.get("obj")
        if backtest is not None:
            context |= _found(backtest)
        page = super().render_change_form(request, context, *args, **more)
        if backtest is not None and backtest.status == BacktestStatus.RUNNING:
            page.headers["Refresh"] = str(_LOOK_AGAIN)
        return page

    def charts(self, row: Backtest) -> Sequence[NamedChart]:
        """Draw how many customers would pay how much more or less, by currency."""
        spreads = backtest_spreads(row.pk, step_of=partial(round_step, parts=_PARTS))
        return [
            NamedChart(
                f"Customers by what they would pay more, in {one.currency}",
                f"{sum(one.counts.values()):,} compared",
                bar_chart([_bar(row, one, place) for place in one.counts]),
            )
            for one in spreads
        ]


def _found(backtest: Backtest) -> dict[str, Any]:
    summary = backtest_summary(backtest.pk)
    return {
        "backtest": backtest,
        "is_running": backtest.status == BacktestStatus.RUNNING,
        "totals": [_total(one) for one in summary.totals],
        "skipped": summary.skipped,
        "failed": summary.failed,
        "movers": [_mover(one) for one in backtest_movers(backtest.pk, count=_MOVERS)],
        "failures": backtest_failures(backtest.pk, count=_FAILURES),
        "everybody": _list(backtest),
        "failed_list": _list(backtest, outcome__exact=BacktestOutcome.FAILED),
    }


def _total(one: BacktestTotal) -> dict[str, Any]:
    share = f" ({one.delta / one.billed * 100:+.1f} %)".replace("-", "−") if one.billed else ""
    return {
        "currency": one.currency,
        "billed": amount_text(one.billed, one.currency),
        "would_be_billed": amount_text(one.would_be_billed, one.currency),
        "delta": _signed(one.delta, one.currency) + share,
        "people": f"{one.winners:,} would pay less, {one.losers:,} more,"
        f" {one.unchanged:,} the same",
    }


def _mover(row: BacktestCustomer) -> dict[str, Any]:
    assert row.billed is not None  # noqa: S101 -- a constraint: who was compared has amounts
    assert row.would_be_billed is not None  # noqa: S101 -- likewise
    assert row.delta is not None  # noqa: S101 -- likewise
    return {
        "customer": row.customer,
        "href": reverse("admin:customers_customer_change", args=[row.customer_id]),
        "billed": amount_text(row.billed, row.priced_in),
        "would_be_billed": amount_text(row.would_be_billed, row.priced_in),
        "delta": _signed(row.delta, row.priced_in),
        "less": row.delta < 0,
    }


def _signed(value: Decimal, currency: str) -> str:
    text = amount_text(value, currency)
    return f"+{text}" if value > 0 else text


def _bar(backtest: Backtest, spread: Spread, place: int) -> Bar:
    """Return the bar of a place, with whoever lies beyond it where it is the outermost."""
    counts, currency = spread.counts, spread.currency
    near, far = (abs(place) - 1) * spread.step, abs(place) * spread.step
    is_last = place in (min(counts), max(counts))
    sign, word = ("−", "less") if place < 0 else ("", "more")
    if place == 0:
        label, said = "0", "as much as before"
        bounds = {"delta__exact": "0"}
    elif is_last:
        label, said = f"{sign}{short_text(near)}…", f"over {amount_text(near, currency)} {word}"
        bounds = {"delta__lt": str(-near)} if place < 0 else {"delta__gt": str(near)}
    else:
        label = f"{sign}{short_text(far)}"
        said = f"{amount_text(near, currency)} to {amount_text(far, currency)} {word}"
        bounds = (
            {"delta__gte": str(-far), "delta__lt": str(-near)}
            if place < 0
            else {"delta__gt": str(near), "delta__lte": str(far)}
        )
    count = counts[place]
    return Bar(
        label=label,
        value=Decimal(count),
        text=f"{count:,} would pay {said}",
        href=_list(backtest, priced_in__exact=currency, **bounds),
    )


def _list(backtest: Backtest, **query: str) -> str:
    path = reverse("admin:invoicing_backtestcustomer_changelist")
    of_tenant = {"tenant": encode(Tenant.ID_PREFIX, backtest.tenant_id)}
    return f"{path}?{urlencode({**of_tenant, 'backtest__exact': str(backtest.pk), **query})}"


@admin.register(BacktestCustomer)
class BacktestCustomerDesk(Desk):
    resource = "invoices"
    list_display = (
        link("customer"),
        choice("outcome"),
        amount("billed", currency="priced_in"),
        amount("would_be_billed", currency="priced_in"),
        amount("delta", "difference", currency="priced_in"),
        plain("subscriptions"),
        plain("reason"),
        link("backtest"),
    )
    list_filter = ("outcome", "priced_in")
    link_filters: ClassVar = ("backtest", "delta")
    search_fields = ("customer__name", "customer__external_id")
    related = ("customer", "backtest__plan_version__plan")
    ordering = ("-delta", "id")
    plural = "customers of backtests"
    when_empty = "What a backtest finds of each customer is listed here."
