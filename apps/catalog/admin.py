"""What is sold, and at what price, on the desk."""

from django.contrib import admin

from apps.catalog.models import (
    AddOnOffer,
    Charge,
    ChargePrice,
    Coupon,
    Feature,
    Phase,
    PhaseFeature,
    Plan,
    PlanTransition,
    PlanVersion,
    PriceList,
    Product,
)
from apps.catalog.operations.coupons import archive_coupon
from apps.core.clock import now
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
    plain,
    status,
)


def _archive_coupon(coupon: Coupon, by: By) -> None:
    archive_coupon(coupon.id, tenant_id=coupon.tenant_id, actor=by.actor, at=now())


class PlanInline(DeskInline):
    model = Plan
    resource = "catalog"
    columns = (itself("plan"), plain("name"), instant("created_at", "since"))


@admin.register(Product)
class ProductDesk(Desk):
    resource = "catalog"
    list_display = (plain("key"), plain("name"), choice("kind"), instant("created_at", "since"))
    list_filter = ("kind",)
    search_fields = ("key", "name")
    inlines = (PlanInline,)
    when_empty = "Upload a whole catalog at once: POST /api/v1/catalog."


@admin.register(PriceList)
class PriceListDesk(Desk):
    resource = "catalog"
    list_display = (plain("key"), plain("name"), instant("created_at", "since"))
    search_fields = ("key", "name")
    when_empty = "Every price is on the standard list. Price lists hold alternatives to it."


@admin.register(Feature)
class FeatureDesk(Desk):
    resource = "catalog"
    list_display = (plain("key"), plain("name"), choice("kind"), link("meter"), plain("unit"))
    list_filter = ("kind",)
    search_fields = ("key", "name")
    related = ("meter",)
    when_empty = "Features say what a plan lets its customers do: POST /api/v1/features."


@admin.register(Coupon)
class CouponDesk(Desk):
    resource = "catalog"
    list_display = (
        plain("key"),
        plain("name"),
        plain("percentage", "per cent"),
        choice("duration"),
        plain("periods"),
        plain("redeemed"),
        plain("max_redemptions", "at most"),
        instant("redeem_until", "until, exclusive"),
    )
    list_filter = ("duration", "target")
    search_fields = ("key", "name")
    verbs = (
        Verb(
            name="archive",
            label="Archive",
            icon="archive",
            resource="catalog",
            run=_archive_coupon,
            fits=lambda coupon: coupon.archived_at is None,
            warning="Nobody can redeem it any more. Who has redeemed it keeps it.",
        ),
    )
    when_empty = "A coupon is a discount that is redeemed by its key: POST /api/v1/coupons."


class PlanVersionInline(DeskInline):
    model = PlanVersion
    resource = "catalog"
    columns = (itself("version"), status(), instant("published_at", "published"))
    ordering = ("-number",)


@admin.register(Plan)
class PlanDesk(Desk):
    resource = "catalog"
    list_display = (
        plain("key"),
        plain("name"),
        link("product"),
        instant("created_at", "since"),
        instant("archived_at", "archived"),
    )
    search_fields = ("key", "name", "product__key")
    related = ("product",)
    inlines = (PlanVersionInline,)
    when_empty = "A plan is a product's way of being sold: POST /api/v1/plans."


@admin.register(PlanTransition)
class PlanTransitionDesk(Desk):
    resource = "catalog"
    list_display = (
        ident(),
        plain("from_plan", "from plan"),
        plain("from_product", "from product"),
        plain("to_plan", "to plan"),
        plain("to_product", "to product"),
        plain("allowed"),
        choice("effective"),
        choice("behaviour"),
        choice("phase_alignment", "phases"),
    )
    list_filter = ("allowed",)
    search_fields = ("from_plan__key", "to_plan__key", "from_product__key", "to_product__key")
    related = ("from_plan", "from_product", "to_plan", "to_product")
    ordering = ("-id",)
    when_empty = "Every change of a plan is allowed. Rules: POST /api/v1/plan-transitions."


@admin.register(AddOnOffer)
class AddOnOfferDesk(Desk):
    resource = "catalog"
    list_display = (
        ident(),
        link("product", "add-on"),
        plain("base_plan", "for plan"),
        plain("base_product", "for product"),
        plain("least"),
        plain("most"),
    )
    search_fields = ("product__key", "base_plan__key", "base_product__key")
    related = ("product", "base_plan", "base_product")
    ordering = ("-id",)
    when_empty = "What is not offered cannot be added: POST /api/v1/add-on-offers."


class PhaseInline(DeskInline):
    model = Phase
    resource = "catalog"
    columns = (
        itself("phase", lambda row: row.name),
        choice("kind"),
        plain("length_count", "lasts"),
        plain("length_unit", "of"),
    )
    ordering = ("position",)


@admin.register(PlanVersion)
class PlanVersionDesk(Desk):
    resource = "catalog"
    list_display = (
        link("plan"),
        plain("number", "version"),
        status(),
        instant("created_at", "created"),
        instant("published_at", "published"),
    )
    list_filter = ("status",)
    search_fields = ("plan__key", "plan__name")
    related = ("plan",)
    ordering = ("-id",)
    inlines = (PhaseInline,)


class ChargeInline(DeskInline):
    model = Charge
    resource = "catalog"
    columns = (
        itself("charge"),
        plain("name"),
        choice("kind"),
        choice("timing"),
        plain("prorated"),
        choice("proration", "by"),
        plain("period_count", "every"),
        plain("period_unit", "of"),
        link("meter_version", "meter"),
    )
    related = ("meter_version__meter",)
    ordering = ("position",)


class PhaseFeatureInline(DeskInline):
    model = PhaseFeature
    resource = "catalog"
    columns = (link("feature"), plain("limit"))
    related = ("feature",)


@admin.register(PhaseFeature)
class PhaseFeatureDesk(Desk):
    resource = "catalog"
    list_display = (link("phase"), link("feature"), plain("limit"))
    search_fields = ("feature__key", "phase__version__plan__key")
    related = ("phase__version__plan", "feature")
    ordering = ("-id",)


@admin.register(Phase)
class PhaseDesk(Desk):
    resource = "catalog"
    list_display = (
        plain("name"),
        link("version"),
        choice("kind"),
        plain("length_count", "lasts"),
        plain("length_unit", "of"),
    )
    list_filter = ("kind",)
    search_fields = ("name", "version__plan__key")
    related = ("version__plan",)
    ordering = ("-id",)
    inlines = (ChargeInline, PhaseFeatureInline)


class ChargePriceInline(DeskInline):
    model = ChargePrice
    resource = "catalog"
    columns = (
        plain("currency"),
        link("price_list"),
        document("pricing"),
        amount("minimum"),
        amount("maximum"),
    )
    related = ("price_list",)


@admin.register(Charge)
class ChargeDesk(Desk):
    resource = "catalog"
    list_display = (
        plain("key"),
        plain("name"),
        link("phase"),
        choice("kind"),
        choice("timing"),
        link("meter_version", "meter"),
    )
    list_filter = ("kind", "timing")
    search_fields = ("key", "name", "phase__version__plan__key")
    related = ("phase__version__plan", "meter_version__meter")
    ordering = ("-id",)
    inlines = (ChargePriceInline,)


@admin.register(ChargePrice)
class ChargePriceDesk(Desk):
    resource = "catalog"
    list_display = (
        link("charge"),
        plain("currency"),
        link("price_list"),
        amount("minimum"),
        amount("maximum"),
    )
    list_filter = ("currency",)
    search_fields = ("charge__key",)
    related = ("charge", "price_list")
    ordering = ("-id",)
