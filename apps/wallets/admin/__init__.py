"""Wallets, grants and holds on the desk."""

from collections.abc import Sequence
from typing import Final

from django.contrib import admin

from apps.core.clock import now
from apps.core.money import plain as shown
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.tenants.desk import (
    Bar,
    Desk,
    DeskInline,
    NamedChart,
    Verb,
    bar_chart,
    choice,
    ident,
    instant,
    itself,
    link,
    named,
    offer,
    plain,
    status,
)
from apps.wallets.admin.verbs import (
    AdjustForm,
    GrantForm,
    RefundForm,
    VoidForm,
    adjust,
    close,
    grant,
    refund,
    release,
    void,
)
from apps.wallets.domain import ZERO, GrantKind, GrantStatus, HoldStatus, WalletStatus
from apps.wallets.models import (
    BurnedAhead,
    BurnFrontier,
    CreditGrant,
    CreditHold,
    CreditPrice,
    CreditTransaction,
    CreditUnit,
    SettlementUndone,
    TopOffRule,
    UsageSettlement,
    Wallet,
)
from apps.wallets.queries import burned_by_day, wallet_forecast

_LABEL_EVERY: Final = 5  # of the days of a chart


class GrantInline(DeskInline):
    model = CreditGrant
    resource = "wallets"
    columns = (
        itself("grant"),
        choice("kind"),
        status(),
        plain("amount"),
        plain("remaining"),
        plain("held"),
        plain("priority"),
        instant("effective_at", "from"),
        instant("expires_at", "expires"),
    )
    ordering = ("-id",)


class TransactionInline(DeskInline):
    model = CreditTransaction
    resource = "wallets"
    columns = (
        plain("number"),
        choice("kind"),
        plain("amount"),
        plain("balance_after", "balance"),
        link("grant"),
        plain("meter.key", "meter"),
        plain("reason"),
        instant("at"),
    )
    related = ("grant", "meter")
    ordering = ("-number",)


class HoldInline(DeskInline):
    model = CreditHold
    resource = "wallets"
    columns = (
        itself("hold"),
        status(),
        plain("amount"),
        plain("captured"),
        instant("expires_at", "expires"),
    )
    ordering = ("-id",)


class TopOffInline(DeskInline):
    model = TopOffRule
    resource = "wallets"
    columns = (choice("kind"), plain("amount"), plain("cap"), plain("failures"))


@admin.register(Wallet)
class WalletDesk(Desk):
    resource = "wallets"
    list_display = (
        named("wallet"),
        link("customer"),
        status(),
        plain("denomination", "in"),
        plain("balance", "available"),
        plain("held"),
        plain("settlement"),
        plain("priority"),
        instant("created_at", "since"),
    )
    list_filter = ("status", "settlement", "insufficient")
    search_fields = ("customer__name", "external_id", "name")
    related = ("customer__test_clock", "customer__tenant__test_clock", "unit")
    detail = (
        ident(),
        status(),
        link("customer"),
        plain("name"),
        plain("external_id"),
        plain("denomination", "in"),
        plain("balance", "available"),
        plain("held"),
        plain("overdrawn", "lent"),
        plain("overdraft_limit"),
        plain("shortfall", "not covered"),
        instant("short_since", "not covered since"),
        choice("settlement"),
        choice("insufficient", "if it is not enough"),
        plain("priority"),
        plain("scope_products", "for products"),
        plain("scope_meters", "for meters"),
        plain("scope_charges", "for charges"),
        plain("low_watermark", "buys below"),
        plain("remind_before", "reminds before an expiry"),
        instant("created_at", "since"),
        instant("closed_at", "closed"),
    )
    inlines = (TopOffInline, GrantInline, HoldInline, TransactionInline)
    verbs = (
        Verb(
            name="grant",
            label="Give credit",
            icon="redeem",
            resource="wallets",
            run=grant,
            fits=lambda wallet: wallet.status != WalletStatus.CLOSED,
            warning="It costs the customer nothing, and is an expense once it is used.",
            form=GrantForm,
        ),
        Verb(
            name="adjust",
            label="Adjust",
            icon="tune",
            resource="wallets",
            run=adjust,
            fits=lambda wallet: wallet.status != WalletStatus.CLOSED,
            warning="Credit that was paid for and is taken away is earned: nothing is given for it.",
            form=AdjustForm,
        ),
        Verb(
            name="close",
            label="Close",
            icon="lock",
            resource="wallets",
            run=close,
            fits=lambda wallet: wallet.status != WalletStatus.CLOSED and not wallet.balance,
            warning="A closed wallet is never opened again.",
        ),
    )
    when_empty = "Credit lies in wallets: POST /api/v1/wallets."

    def charts(self, row: Wallet) -> Sequence[NamedChart]:
        """Draw what was used on each of the last thirty days, by the customer's zone."""
        at = customer_now(row.customer, wall=now())
        days = burned_by_day(row, zone=row.customer.zone, at=at)
        unit = row.denomination
        bars = [
            Bar(
                label=f"{day:%-d %b}" if index % _LABEL_EVERY == 0 else "",
                value=used,
                text=f"{day:%-d %B %Y}: {shown(used)} {unit}",
                href="",
            )
            for index, (day, used) in enumerate(days)
        ]
        ahead = wallet_forecast(row, at=at)
        end = f", empty on {ahead.empty_at:%-d %B %Y} at this pace" if ahead.empty_at else ""
        total = sum((used for _, used in days), ZERO)
        return [
            NamedChart(
                f"Used, in {unit}, by day", f"{shown(total)} in thirty days{end}", bar_chart(bars)
            )
        ]


@admin.register(CreditGrant)
class CreditGrantDesk(Desk):
    resource = "wallets"
    list_display = (
        named("grant"),
        link("wallet"),
        choice("kind"),
        status(),
        plain("amount"),
        plain("remaining"),
        plain("held"),
        instant("effective_at", "from"),
        instant("expires_at", "expires"),
    )
    list_filter = ("status", "kind", "source")
    search_fields = ("name", "wallet__customer__name")
    related = ("wallet__customer__test_clock", "wallet__customer__tenant__test_clock")
    verbs = (
        Verb(
            name="void",
            label="Take back",
            icon="undo",
            resource="wallets",
            run=void,
            fits=lambda grant: grant.status == GrantStatus.AVAILABLE and grant.remaining > 0,
            warning="What is taken is gone; nothing is given for paid credit.",
            form=VoidForm,
        ),
        Verb(
            name="refund",
            label="Refund",
            icon="currency_exchange",
            resource="wallets",
            run=refund,
            fits=lambda grant: (
                grant.kind == GrantKind.PAID
                and grant.status == GrantStatus.AVAILABLE
                and grant.remaining > 0
                and not grant.held
            ),
            warning="What is left of it is gone; its money goes to the customer's balance.",
            form=RefundForm,
        ),
    )
    when_empty = "Credit is bought or given: POST /api/v1/credit-grants."


@admin.register(CreditHold)
class CreditHoldDesk(Desk):
    resource = "wallets"
    list_display = (
        ident(),
        link("wallet"),
        status(),
        plain("amount"),
        plain("captured"),
        instant("expires_at", "expires"),
        instant("created_at", "since"),
    )
    list_filter = ("status",)
    search_fields = ("external_id", "wallet__customer__name")
    related = ("wallet__customer__test_clock", "wallet__customer__tenant__test_clock")
    verbs = (
        Verb(
            name="release",
            label="Release",
            icon="lock_open",
            resource="wallets",
            run=release,
            fits=lambda hold: hold.status == HoldStatus.OPEN,
        ),
    )
    when_empty = "Costs that are not known yet are held: POST /api/v1/holds."


@admin.register(CreditTransaction)
class CreditTransactionDesk(Desk):
    resource = "wallets"
    list_display = (
        ident(),
        link("wallet"),
        choice("kind"),
        plain("amount"),
        plain("balance_after", "balance"),
        link("grant"),
        plain("meter.key", "meter"),
        plain("because"),
        instant("at"),
    )
    list_filter = ("kind",)
    search_fields = ("wallet__customer__name", "=source_key")
    related = ("wallet", "grant", "hold", "meter")
    when_empty = "Nothing has moved."


@admin.register(CreditUnit)
class CreditUnitDesk(Desk):
    resource = "wallets"
    list_display = (plain("key"), plain("name"), plain("rate"), plain("currency"))
    search_fields = ("key", "name")
    when_empty = "Credit may be no money: POST /api/v1/credit-units."


@admin.register(CreditPrice)
class CreditPriceDesk(Desk):
    resource = "wallets"
    list_display = (ident(), link("meter"), link("unit"), plain("currency"), plain("price"))
    search_fields = ("meter__key",)
    related = ("meter", "unit")
    when_empty = "What events take of credit: POST /api/v1/credit-prices."


@admin.register(TopOffRule)
class TopOffRuleDesk(Desk):
    resource = "wallets"
    list_display = (
        ident(),
        link("wallet"),
        choice("kind"),
        plain("amount"),
        plain("failures"),
        instant("not_before", "not before"),
        instant("paused_at", "paused"),
    )
    search_fields = ("wallet__customer__name",)
    related = ("wallet",)
    when_empty = "No wallet buys credit by itself."


@admin.register(UsageSettlement)
class UsageSettlementDesk(Desk):
    resource = "wallets"
    list_display = (
        ident(),
        link("customer"),
        link("meter"),
        plain("amount"),
        plain("currency"),
        instant("service_start", "from"),
        instant("service_end", "to, exclusive"),
    )
    search_fields = ("customer__name",)
    related = ("customer", "meter")
    when_empty = "No invoice asked for usage that credit had paid."


@admin.register(SettlementUndone)
class SettlementUndoneDesk(Desk):
    resource = "wallets"
    list_display = (plain("invoice_id", "invoice"), instant("at"))
    search_fields = ("=invoice_id",)
    ordering = ("-at",)
    when_empty = "No such invoice was canceled."


@admin.register(BurnedAhead)
class BurnedAheadDesk(Desk):
    resource = "wallets"
    list_display = (link("customer"), plain("snapshot", "burned by"))
    search_fields = ("customer__name",)
    related = ("customer",)
    when_empty = "No invoice was issued to who burns credit by events."


@admin.register(BurnFrontier)
class BurnFrontierDesk(Desk):
    resource = "wallets"
    tenant_path = ""
    list_display = (plain("below_xid", "below transaction"),)
    ordering = ("id",)


class WalletInline(DeskInline):
    model = Wallet
    resource = "wallets"
    columns = (
        itself("wallet"),
        status(),
        plain("denomination", "in"),
        plain("balance", "available"),
        plain("held"),
    )
    related = ("unit",)
    ordering = ("-id",)


offer(Customer, inlines=(WalletInline,))
