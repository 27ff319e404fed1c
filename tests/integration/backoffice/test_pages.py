"""The pages of the desk: all are there, all answer, and cost the same for one row or three."""

from typing import Any, cast

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.core.models import AuditEvent, AuditPending
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.tenants.desk import Desk
from apps.tenants.domain import Mode, Role
from apps.tenants.models import Membership, Operator, Tenant
from tests.make.backoffice import make_world
from tests.make.tenants import make_operator, make_tenant

# session, operator, rights, count, rows; and filters that list the values there are
QUERIES_OF_A_LIST = 7
# session, operator, rights, row, activity; and inlines
QUERIES_OF_A_PAGE = 17

Page = tuple[type[models.Model], Desk]


def pages() -> list[Page]:
    found = [model for model in apps.get_models() if admin.site.is_registered(model)]
    return [(model, cast("Desk", admin.site.get_model_admin(model))) for model in found]


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(make_operator(is_superuser=True))
    return client


@pytest.fixture
def tenant(db: None) -> Tenant:
    tenant = make_tenant(slug="desk")
    hourly, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.HOURS)
    PeriodicTask.objects.get_or_create(name="x", defaults={"task": "x", "interval": hourly})
    make_world(tenant)
    return tenant


def member_of(tenant: Tenant, role: Role = Role.OWNER) -> Client:
    operator = make_operator()
    with tenant_scope(tenant.id):
        Membership.objects.create(tenant=tenant, operator=operator, role=role)
    client = Client()
    client.force_login(operator)
    return client


def url_of(model: type[models.Model], page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def first(model: type[models.Model]) -> Any:
    row = model._default_manager.order_by("pk").first()
    assert row is not None, f"the world of the test has no {model._meta.label}"
    return row


def test_every_model_of_every_app_has_its_page() -> None:
    own = {model for model in apps.get_models() if model.__module__.startswith("apps.")}
    assert own - {model for model, _ in pages()} == set()


def test_no_page_but_those_of_the_desk_is_open() -> None:
    assert [model for model, page in pages() if Desk not in type(page).mro()] == []


def test_every_list_answers_within_its_queries(root: Client, tenant: Tenant) -> None:
    root.get(reverse("admin:index"))  # which chooses the tenant
    wrong = {}
    for model, _ in pages():
        with CaptureQueriesContext(connection) as queries:
            answer = root.get(url_of(model, "changelist"))
        rows = len(answer.context["cl"].result_list) if answer.status_code == 200 else 0
        if answer.status_code != 200 or not rows or len(queries) > QUERIES_OF_A_LIST:
            wrong[model._meta.label] = (answer.status_code, rows, len(queries))
    assert wrong == {}


def test_no_list_costs_more_for_three_rows_than_for_one(root: Client, tenant: Tenant) -> None:
    root.get(reverse("admin:index"))  # which chooses the tenant

    def costs() -> dict[str, int]:
        found = {}
        for model, _ in pages():
            with CaptureQueriesContext(connection) as queries:
                root.get(url_of(model, "changelist"))
            found[model._meta.label] = len(queries)
        return found

    before = costs()
    make_world(tenant)
    make_world(tenant)
    assert costs() == before


def test_every_detail_page_answers_within_its_queries(root: Client, tenant: Tenant) -> None:
    root.get(reverse("admin:index"))  # which chooses the tenant
    wrong = {}
    for model, page in pages():
        if page.list_display_links is None:
            continue
        with CaptureQueriesContext(connection) as queries:
            answer = root.get(url_of(model, "change", first(model).pk))
        if answer.status_code != 200 or len(queries) > QUERIES_OF_A_PAGE:
            wrong[model._meta.label] = (answer.status_code, len(queries))
    assert wrong == {}


@pytest.mark.holds("B126", "S44")
def test_nothing_can_be_added_changed_or_deleted(root: Client, tenant: Tenant) -> None:
    for model, _ in pages():
        row = first(model)
        answers = {
            "add": root.get(url_of(model, "add")).status_code,
            "change": root.post(url_of(model, "change", row.pk), {}).status_code,
            "delete": root.post(url_of(model, "delete", row.pk), {"post": "yes"}).status_code,
        }
        assert (model, answers) == (model, {"add": 403, "change": 403, "delete": 403})


@pytest.mark.holds("B127")
def test_a_search_for_anything_answers(root: Client, tenant: Tenant) -> None:
    words = ("' OR 1=1 -- % ((((", "\x00" + "x" * 10_000, "inv_" + "0" * 26, "INV-1")
    for model, _ in pages():
        codes = {root.get(url_of(model, "changelist"), {"q": one}).status_code for one in words}
        assert (model, codes) == (model, {200})


@pytest.mark.holds("B126", "S31")
def test_a_lookup_that_is_no_filter_is_refused(root: Client, tenant: Tenant) -> None:
    for model, _ in pages():
        for lookup in ("tenant__test_clock__name__startswith", "operator__password__startswith"):
            code = root.get(url_of(model, "changelist"), {lookup: "a"}).status_code
            assert (model, code) == (model, 400)


def test_every_page_shows_a_row_by_its_id(root: Client, tenant: Tenant) -> None:
    for model, _ in pages():
        row = first(model)
        if hasattr(row, "public_id"):
            answer = root.get(url_of(model, "changelist"), {"q": row.public_id})
            assert list(answer.context["cl"].result_list) == [row]


def test_an_operator_sees_nothing_of_other_tenants(tenant: Tenant) -> None:
    stranger = member_of(make_tenant(slug="other"))
    not_empty = set()
    for model, page in pages():
        row = first(model)
        listed = stranger.get(url_of(model, "changelist"))
        shown = stranger.get(url_of(model, "change", row.pk))
        if page.tenant_path == "":
            assert (model, listed.status_code, shown.status_code) == (model, 403, 403)
            continue
        rows = list(listed.context["cl"].result_list)
        assert row not in rows
        assert (model, shown.status_code) == (model, 302)
        if rows:
            not_empty.add(model)
    # what every new tenant and its operator bring
    assert not_empty == {AuditEvent, AuditPending, Membership, Operator, Tenant}


def test_a_role_at_a_company_holds_in_both_modes(tenant: Tenant) -> None:
    listed = member_of(tenant).get(url_of(Tenant, "changelist")).context["cl"].queryset
    assert {Mode(one.mode) for one in listed} == {Mode.LIVE, Mode.TEST}


def test_a_list_can_be_narrowed_to_one_tenant(root: Client, tenant: Tenant) -> None:
    other = make_tenant(slug="other")
    make_world(other)
    answer = root.get(url_of(Customer, "changelist"), {"tenant": other.public_id})
    assert {one.tenant_id for one in answer.context["cl"].result_list} == {other.id}


def test_an_empty_list_says_how_rows_come_to_be(root: Client) -> None:
    answer = root.get(url_of(Customer, "changelist"))
    assert "POST /api/v1/customers" in answer.content.decode()


def test_somebody_who_works_for_no_tenant_sees_an_empty_desk(tenant: Tenant) -> None:
    client = Client()
    client.force_login(make_operator())
    answer = client.get(reverse("admin:index"))
    assert "Ask an owner" in answer.content.decode()
    assert client.get(url_of(Customer, "changelist")).status_code == 403


def test_the_desk_asks_strangers_to_log_in(db: None) -> None:
    answer = Client().get(reverse("admin:index"))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/")


def test_pages_show_without_scripts_though_the_theme_hides_them(root: Client) -> None:
    strangers_page = Client().get("/admin/login/").content.decode()
    for page in (root.get("/admin/").content.decode(), strangers_page):
        assert "x-cloak" in page
        inside = page.partition("<noscript>")[2].partition("</noscript>")[0].strip()
        assert inside.startswith('<link rel="stylesheet" href="/static/backoffice/noscript.css"')
