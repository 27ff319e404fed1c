"""Tenants, their people, keys and clocks on the desk."""

from django.contrib import admin
from django.contrib.auth.models import Group

from apps.tenants.desk import (
    Desk,
    DeskInline,
    choice,
    ident,
    instant,
    link,
    plain,
)
from apps.tenants.models import ApiKey, Membership, Operator, Tenant, TestClock

admin.site.unregister(Group)  # rights come from roles at tenants


class MemberInline(DeskInline):
    model = Membership
    resource = "members"
    columns = (link("operator"), choice("role"), instant("created_at", "since"))
    related = ("operator",)


@admin.register(Tenant)
class TenantDesk(Desk):
    resource = "tenants"
    tenant_path = "id"
    list_display = (
        plain("name"),
        plain("slug"),
        choice("mode"),
        plain("currency"),
        plain("zone", "time zone"),
        instant("created_at", "since"),
    )
    list_filter = ("mode",)
    search_fields = ("name", "slug")
    related = ("test_clock",)
    hidden = ("logo",)
    inlines = (MemberInline,)


@admin.register(ApiKey)
class ApiKeyDesk(Desk):
    resource = "api_keys"
    list_display = (
        plain("name"),
        plain("hint", "key"),
        plain("created_by"),
        instant("created_at", "created"),
        instant("last_used_at", "last used"),
        instant("expires_at", "expires"),
        instant("revoked_at", "revoked"),
    )
    search_fields = ("name", "hint")
    ordering = ("-id",)
    when_empty = "Programs need a key: make one with manage.py create_api_key or POST /api-keys."


class MembershipInline(DeskInline):
    model = Membership
    fk_name = "operator"
    resource = "members"
    columns = (link("tenant"), choice("role"), instant("created_at", "since"))
    related = ("tenant",)


@admin.register(Operator)
class OperatorDesk(Desk):
    resource = "members"
    tenant_path = "memberships__tenant_id"
    list_display = (
        plain("email", "e-mail"),
        plain("name"),
        "is_active",
        "is_superuser",
        instant("last_login"),
        instant("created_at", "since"),
    )
    list_filter = ("is_active",)
    search_fields = ("email", "name")
    ordering = ("email",)
    hidden = ("password",)
    inlines = (MembershipInline,)


@admin.register(Membership)
class MembershipDesk(Desk):
    resource = "members"
    list_display = (
        link("operator"),
        choice("role"),
        link("tenant"),
        instant("created_at", "since"),
    )
    list_filter = ("role",)
    search_fields = ("operator__email",)
    related = ("operator", "tenant")
    ordering = ("operator__email", "id")


@admin.register(TestClock)
class TestClockDesk(Desk):
    resource = "test_clocks"
    list_display = (ident(), plain("name"), instant("now"), instant("created_at", "created"))
    search_fields = ("name",)
    ordering = ("-id",)
    when_empty = "A test clock lets a test tenant live through years in seconds: POST /test-clocks."
