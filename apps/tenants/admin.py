"""Tenants, their people, keys and clocks on the desk."""

from django.contrib import admin
from django.contrib.auth.models import Group

from apps.core.clock import now
from apps.tenants.desk import (
    Desk,
    DeskInline,
    Verb,
    choice,
    ident,
    instant,
    link,
    named,
    plain,
)
from apps.tenants.models import (
    ApiKey,
    LoginTries,
    Membership,
    Operator,
    Tenant,
    TestClock,
)
from apps.tenants.operations import revoke_api_key

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
    unread = ("logo",)
    inlines = (MemberInline,)


@admin.register(ApiKey)
class ApiKeyDesk(Desk):
    resource = "api_keys"
    plural = "API keys"
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
    verbs = (
        Verb(
            name="revoke",
            label="Revoke",
            icon="key_off",
            resource="api_keys",
            run=lambda key, by: revoke_api_key(key.id, actor=by.actor, at=now()),
            fits=lambda key: key.revoked_at is None,
            warning="Programs that use the key are refused from this moment on.",
        ),
    )
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


@admin.register(LoginTries)
class LoginTriesDesk(Desk):
    resource = "members"
    tenant_path = ""
    list_display = (named("somebody"), plain("tries"), instant("since"))
    list_display_links = None  # nobody needs to see one alone
    ordering = ("-since",)
    when_empty = "Nobody failed to log in lately."
