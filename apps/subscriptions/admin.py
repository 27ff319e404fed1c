"""Subscriptions and their timelines on the desk."""

from django.contrib import admin

from apps.core.clock import now
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.subscriptions.domain import HOLDING, CancelMode, ChangeVerb, SubscriptionStatus, Wish
from apps.subscriptions.models import (
    Contract,
    CouponRedemption,
    Notice,
    PlanMigration,
    PlanMigrationMember,
    ScheduledChange,
    Subscription,
    SubscriptionSegment,
)
from apps.subscriptions.operations import (
    cancel_subscription,
    change_subscription,
    end_contract,
    end_discount,
    uncancel_subscription,
)
from apps.subscriptions.operations.migrating import roll_back_migration
from apps.tenants.desk import (
    By,
    Desk,
    DeskInline,
    Verb,
    amount,
    choice,
    document,
    ident,
    instant,
    itself,
    link,
    offer,
    plain,
    status,
)


def _cancel(subscription: Subscription, by: By, mode: CancelMode, *, refund: bool = False) -> None:
    at = customer_now(subscription.customer, wall=now())
    cancel_subscription(
        subscription.id,
        mode=mode,
        refund=refund,
        change_id=by.effect_id,
        actor=by.actor,
        at=at,
    )


def _change(subscription: Subscription, by: By, verb: ChangeVerb) -> None:
    at = customer_now(subscription.customer, wall=now())
    wish = Wish(verb)
    change_subscription(subscription.id, wish, change_id=by.effect_id, actor=by.actor, at=at)


def _uncancel(subscription: Subscription, by: By) -> None:
    at = customer_now(subscription.customer, wall=now())
    uncancel_subscription(subscription.id, actor=by.actor, at=at)


def _end(redemption: CouponRedemption, by: By) -> None:
    at = customer_now(redemption.customer, wall=now())
    end_discount(redemption.id, tenant_id=redemption.tenant_id, actor=by.actor, at=at)


def _end_contract(contract: Contract, by: By) -> None:
    at = customer_now(contract.customer, wall=now())
    end_contract(contract.id, tenant_id=contract.tenant_id, actor=by.actor, at=at)


class SegmentInline(DeskInline):
    model = SubscriptionSegment
    resource = "subscriptions"
    columns = (
        link("add_on", "add-on"),
        instant("starts_at", "from", zone="subscription.zone"),
        instant("ends_at", "to, exclusive", zone="subscription.zone"),
        link("plan_version", "plan"),
        link("phase"),
        plain("quantity"),
        choice("standing"),
        plain("absent"),
        instant("anchor_at", "periods from"),
        instant("paid_from", "paid from", zone="subscription.zone"),
    )
    related = ("subscription", "add_on", "plan_version__plan", "phase__version__plan")
    ordering = ("starts_at",)


class ScheduledChangeInline(DeskInline):
    model = ScheduledChange
    resource = "subscriptions"
    columns = (
        choice("verb"),
        status(),
        instant("effective_at", "effective"),
        document("arguments", "terms"),
    )
    ordering = ("effective_at",)


class RedemptionInline(DeskInline):
    model = CouponRedemption
    resource = "subscriptions"
    columns = (
        link("coupon"),
        instant("starts_at", "from", zone="zone"),
        instant("ends_at", "to, exclusive", zone="zone"),
    )
    related = ("coupon",)
    ordering = ("-id",)


@admin.register(Subscription)
class SubscriptionDesk(Desk):
    resource = "subscriptions"
    list_display = (
        ident(),
        link("customer"),
        link("plan_version", "plan"),
        status(),
        plain("quantity"),
        instant("started_at", "started"),
        instant("next_bill_at", "next bill"),
        instant("ends_at", "ends"),
    )
    list_filter = ("status", "currency", ("uncovered_since", admin.EmptyFieldListFilter))
    search_fields = ("external_id", "customer__name", "customer__external_id")
    related = (
        "customer__test_clock",
        "customer__tenant__test_clock",
        "plan_version__plan",
        "price_list",
    )
    detail = (
        ident(),
        status(),
        link("customer"),
        plain("external_id"),
        link("plan_version", "plan"),
        link("price_list"),
        plain("currency"),
        plain("zone", "time zone"),
        choice("alignment"),
        plain("anchor_day"),
        plain("quantity"),
        instant("started_at", "started", zone="zone"),
        instant("ends_at", "ends, exclusive", zone="zone"),
        instant("term_ends_at", "term ends", zone="zone"),
        plain("auto_renew", "renews"),
        instant("next_bill_at", "next bill", zone="zone"),
        instant("billed_until", "billed until", zone="zone"),
        instant("changed_from", "changed since", zone="zone"),
        instant("uncovered_since", "not covered by credit since", zone="zone"),
        document("metadata"),
    )
    inlines = (SegmentInline, ScheduledChangeInline, RedemptionInline)
    verbs = (
        Verb(
            name="cancel",
            label="Cancel at the period's end",
            icon="event_busy",
            resource="subscriptions",
            run=lambda row, by: _cancel(row, by, CancelMode.PERIOD_END),
            fits=lambda row: row.status != SubscriptionStatus.ENDED,
            warning="It runs to the end of what is paid for. Until then this can be withdrawn.",
        ),
        Verb(
            name="cancel_now",
            label="Cancel now",
            icon="cancel",
            resource="subscriptions",
            run=lambda row, by: _cancel(row, by, CancelMode.NOW),
            fits=lambda row: row.status != SubscriptionStatus.ENDED,
            warning="It ends at once. What was billed ahead for the rest of its period is"
            " credited by the next run.",
        ),
        Verb(
            name="cancel_refund",
            label="Cancel now and refund",
            icon="currency_exchange",
            resource="subscriptions",
            besides="payments",
            run=lambda row, by: _cancel(row, by, CancelMode.NOW, refund=True),
            fits=lambda row: row.status != SubscriptionStatus.ENDED,
            warning="It ends at once. What was paid ahead for the rest of its period goes back to"
            " the payments that paid it, as soon as the next run has credited it.",
        ),
        Verb(
            name="uncancel",
            label="Take the cancellation back",
            icon="undo",
            resource="subscriptions",
            run=_uncancel,
            fits=lambda row: row.status in HOLDING,
        ),
        Verb(
            name="pause",
            label="Pause",
            icon="pause",
            resource="subscriptions",
            run=lambda row, by: _change(row, by, ChangeVerb.PAUSE),
            fits=lambda row: row.status in HOLDING - {SubscriptionStatus.PAUSED},
            warning="Nothing is charged for until it is resumed. What was billed ahead is credited.",
        ),
        Verb(
            name="suspend",
            label="Suspend",
            icon="block",
            resource="subscriptions",
            run=lambda row, by: _change(row, by, ChangeVerb.SUSPEND),
            fits=lambda row: row.status == SubscriptionStatus.ACTIVE,
            warning="It grants nothing until it is resumed, and is charged for as before.",
        ),
        Verb(
            name="resume",
            label="Resume",
            icon="play_arrow",
            resource="subscriptions",
            run=lambda row, by: _change(row, by, ChangeVerb.RESUME),
            fits=lambda row: row.status in HOLDING - {SubscriptionStatus.ACTIVE},
        ),
    )
    when_empty = "Somebody has to subscribe: POST /api/v1/subscriptions."


@admin.register(SubscriptionSegment)
class SegmentDesk(Desk):
    resource = "subscriptions"
    list_display = (
        ident(),
        link("subscription"),
        link("plan_version", "plan"),
        instant("starts_at", "from"),
        instant("ends_at", "to, exclusive"),
        plain("quantity"),
    )
    search_fields = ("subscription__external_id",)
    related = ("subscription", "plan_version__plan", "phase__version__plan")
    ordering = ("-id",)


@admin.register(ScheduledChange)
class ScheduledChangeDesk(Desk):
    resource = "subscriptions"
    list_display = (
        ident(),
        link("subscription"),
        choice("verb"),
        status(),
        instant("effective_at", "effective"),
    )
    list_filter = ("status", "verb")
    search_fields = ("subscription__external_id",)
    related = ("subscription",)
    when_empty = "No change waits for its time."


@admin.register(CouponRedemption)
class CouponRedemptionDesk(Desk):
    resource = "subscriptions"
    list_display = (
        ident(),
        link("coupon"),
        link("customer"),
        link("subscription"),
        instant("starts_at", "from", zone="zone"),
        instant("ends_at", "to, exclusive", zone="zone"),
    )
    search_fields = ("coupon__key", "customer__name", "customer__external_id")
    related = (
        "coupon",
        "customer__test_clock",
        "customer__tenant__test_clock",
        "subscription",
    )
    ordering = ("-id",)
    verbs = (
        Verb(
            name="end",
            label="End the discount",
            icon="money_off",
            resource="subscriptions",
            run=_end,
            fits=lambda row: (
                row.ends_at is None or row.ends_at > customer_now(row.customer, wall=now())
            ),
            warning="Billing periods that begin from now on are not discounted.",
        ),
    )
    when_empty = "Coupons are redeemed by POST /api/v1/coupon-redemptions."


@admin.register(Contract)
class ContractDesk(Desk):
    resource = "subscriptions"
    list_display = (
        plain("name"),
        link("customer"),
        link("subscription"),
        instant("starts_at", "from", zone="zone"),
        instant("ends_at", "to, exclusive", zone="zone"),
    )
    search_fields = ("name", "external_id", "customer__name", "customer__external_id")
    related = (
        "customer__test_clock",
        "customer__tenant__test_clock",
        "subscription",
    )
    detail = (
        ident(),
        plain("name"),
        plain("external_id"),
        link("customer"),
        link("subscription"),
        instant("starts_at", "from", zone="zone"),
        instant("ends_at", "to, exclusive", zone="zone"),
        plain("currency"),
        document("prices"),
        (amount("commitment"), choice("commitment_per", "per"), plain("true_up")),
        plain("overage_factor"),
        document("commitment_charges", "charges that count"),
        document("features", "granted"),
        document("documents"),
    )
    ordering = ("-id",)
    verbs = (
        Verb(
            name="end",
            label="End now",
            icon="event_busy",
            resource="subscriptions",
            run=_end_contract,
            fits=lambda row: (
                row.ends_at is None or row.ends_at > customer_now(row.customer, wall=now())
            ),
            warning="Billing periods that begin from now on are billed as if there were none.",
        ),
    )
    when_empty = "What was negotiated is noted by POST /api/v1/contracts."


@admin.register(Notice)
class NoticeDesk(Desk):
    resource = "subscriptions"
    list_display = (
        ident(),
        choice("kind"),
        link("subscription"),
        link("contract"),
        instant("boundary_at", "ends"),
        instant("told_at", "told"),
    )
    list_filter = ("kind",)
    search_fields = ("subscription__external_id", "contract__name")
    related = ("subscription", "contract")
    ordering = ("-id",)
    when_empty = "Nothing that ends has been told: see the tenant's settings of notices."


def _roll_back(migration: PlanMigration, by: By) -> None:
    roll_back_migration(migration.id, actor=by.actor, at=now())


class MemberInline(DeskInline):
    model = PlanMigrationMember
    resource = "subscriptions"
    columns = (link("subscription"), choice("outcome"), plain("reason"))
    related = ("subscription",)
    ordering = ("id",)


@admin.register(PlanMigration)
class PlanMigrationDesk(Desk):
    resource = "subscriptions"
    list_display = (
        ident(),
        link("from_version", "from"),
        link("to_version", "to"),
        status(),
        instant("effective_at", "effective"),
        instant("created_at", "since"),
    )
    list_filter = ("status",)
    search_fields = ("from_version__plan__key",)
    related = ("from_version__plan", "to_version__plan")
    ordering = ("-id",)
    inlines = (MemberInline,)
    verbs = (
        Verb(
            name="roll_back",
            label="Roll back",
            icon="undo",
            resource="subscriptions",
            run=_roll_back,
            fits=lambda row: row.rolled_back_at is None,
            warning="Everybody who was moved gets the version back that he had, as of the same"
            " instant. What was billed since is credited by the next run.",
        ),
    )
    when_empty = "Nobody was moved to another version: POST /api/v1/plan-migrations."


@admin.register(PlanMigrationMember)
class PlanMigrationMemberDesk(Desk):
    resource = "subscriptions"
    list_display = (
        ident(),
        link("migration"),
        link("subscription"),
        instant("effective_at", "effective"),
        choice("outcome"),
    )
    list_filter = ("outcome",)
    search_fields = ("subscription__external_id",)
    related = ("migration__from_version__plan", "migration__to_version__plan", "subscription")
    ordering = ("-id",)


class SubscriptionInline(DeskInline):
    model = Subscription
    resource = "subscriptions"
    columns = (
        itself("subscription"),
        link("plan_version", "plan"),
        status(),
        instant("started_at", "started", zone="zone"),
        instant("next_bill_at", "next bill", zone="zone"),
    )
    related = ("plan_version__plan",)
    ordering = ("-id",)


offer(Customer, inlines=(SubscriptionInline,))
