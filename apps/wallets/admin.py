"""Wallets, grants and holds on the desk."""

from django.contrib import admin

from apps.core.clock import now
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.tenants.desk import (
    By,
    Desk,
    DeskInline,
    Verb,
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
from apps.wallets.domain import GrantKind, GrantStatus, HoldStatus, WalletStatus
from apps.wallets.models import (
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
from apps.wallets.operations.granting import refund_grant, void_grant
from apps.wallets.operations.spending import release_hold
from apps.wallets.operations.wallets import close_wallet

_AT_THE_DESK = "taken back at the desk"


def _void(grant: CreditGrant, by: By) -> None:
    void_grant(
        grant.id,
        id=by.effect_id,
        tenant_id=grant.tenant_id,
        reason=_AT_THE_DESK,
        actor=by.actor,
        at=customer_now(grant.wallet.customer, wall=now()),
    )


def _refund(grant: CreditGrant, by: By) -> None:
    refund_grant(
        grant.id,
        tenant_id=grant.tenant_id,
        reason=_AT_THE_DESK,
        actor=by.actor,
        at=customer_now(grant.wallet.customer, wall=now()),
    )


def _release(hold: CreditHold, by: By) -> None:
    release_hold(
        hold.id,
        tenant_id=hold.tenant_id,
        actor=by.actor,
        at=customer_now(hold.wallet.customer, wall=now()),
    )


def _close(wallet: Wallet, by: By) -> None:
    close_wallet(
        wallet.id,
        tenant_id=wallet.tenant_id,
        actor=by.actor,
        at=customer_now(wallet.customer, wall=now()),
    )


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
    inlines = (TopOffInline, GrantInline, HoldInline, TransactionInline)
    verbs = (
        Verb(
            name="close",
            label="Close",
            icon="lock",
            resource="wallets",
            run=_close,
            fits=lambda wallet: wallet.status != WalletStatus.CLOSED and not wallet.balance,
            warning="A closed wallet is never opened again.",
        ),
    )
    when_empty = "Credit lies in wallets: POST /api/v1/wallets."


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
            run=_void,
            fits=lambda grant: grant.status == GrantStatus.AVAILABLE and grant.remaining > 0,
            warning="What is left of it is gone; nothing is given for paid credit.",
        ),
        Verb(
            name="refund",
            label="Refund",
            icon="currency_exchange",
            resource="wallets",
            run=_refund,
            fits=lambda grant: (
                grant.kind == GrantKind.PAID
                and grant.status == GrantStatus.AVAILABLE
                and grant.remaining > 0
                and not grant.held
            ),
            warning="What is left of it is gone; its money goes to the customer's balance.",
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
            run=_release,
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
