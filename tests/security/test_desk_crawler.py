"""The desk, crawled: an operator of one company finds nothing of another on any page of it."""

import re
from collections.abc import Iterator
from typing import Any, Final, cast
from uuid import UUID

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.contrib.messages import get_messages
from django.db import connection, models
from django.test import Client
from django.urls import reverse

from apps.core.ids import encode, new_id
from apps.customers.models import Customer
from apps.tenants.desk import Desk
from tests.security.routes import Route, routes
from tests.security.world import World, dump, make_full
from tests.servers import as_superuser

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S1", "S44")]

PAGES: Final = ("change", "history", "delete")
AMEND: Final = "admin/metering/eventamendment/amend/"  # a form, asked below
# of Django's: about no row, or about one's own account
OTHER: Final = frozenset(
    {
        "admin/",
        "admin/autocomplete/",
        "admin/jsi18n/",
        "admin/login/",
        "admin/logout/",
        AMEND,
        "admin/password_change/",
        "admin/password_change/done/",
        "admin/r/{content_type_id}/{object_id}/",
        "admin/search/",
    }
)
# an index of an app, and what nothing else matches
OTHER_PATTERNS: Final = ("admin/(?P{app_label}", "admin/(?P{url}")
_CHANGING: Final = re.compile(
    r'name="csrfmiddlewaretoken" value="\w+"|name="effect" value="[\w-]+"|csrfToken: "\w+"'
)


def desk_pages() -> list[tuple[type[models.Model], Desk]]:
    """Return every page of the desk that shows rows of tenants."""
    found = [model for model in apps.get_models() if admin.site.is_registered(model)]
    return [(model, cast("Desk", admin.site.get_model_admin(model))) for model in found]


def row_of(model: type[models.Model], page: Desk, world: World) -> Any:
    """Return the key of a row of the company, or None if the model has none of its own."""
    if not page.tenant_path:
        return None
    rows = model._default_manager.filter(**{page.tenant_path: world.tenant.id})
    with as_superuser():
        return rows.order_by("-pk").values_list("pk", flat=True).first()


def never_was(key: Any) -> Any:
    """Return a key of the same form that no row ever had."""
    match key:
        case UUID():
            return new_id()
        case int():
            return 2_000_000_000 + key
        case _:
            return "x" * len(str(key))


def url_of(model: type[models.Model], page: str, *args: Any) -> str:
    """Return the path of a page of the model."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def urls(model: type[models.Model], page: Desk, key: Any) -> Iterator[str]:
    """Yield every path that names the row."""
    yield from (url_of(model, name, key) for name in PAGES)
    yield reverse("admin:view_on_site", args=[ContentType.objects.get_for_model(model).pk, key])
    yield from (url_of(model, "verb", key, verb.name) for verb in page.all_verbs())
    yield from (url_of(model, "download", key, one.name) for one in page.downloads)


def said(client: Client, method: str, url: str, key: Any, **given: Any) -> tuple[Any, ...]:
    """Return status, where to, message and body, without the key and what always differs."""
    client.cookies.pop("messages", None)
    response: Any = client.generic(method, url) if not given else client.post(url, given)
    named = re.compile(rf"(?<!\w){re.escape(str(key))}(?!\w)")  # a number may be part of others
    told = [named.sub("<key>", str(one)) for one in get_messages(response.wsgi_request)]
    body = named.sub("<key>", _CHANGING.sub("", response.content.decode()))
    place = named.sub("<key>", response.headers.get("Location", ""))
    return response.status_code, place, told, body


@pytest.fixture
def worlds() -> tuple[World, World]:
    return make_full("a"), make_full("b")


def session_of(world: World) -> Client:
    client = Client()
    client.force_login(world.member.operator)
    return client


def test_rows_of_another_company_are_as_rows_that_never_were(worlds: tuple[World, World]) -> None:
    own, other = worlds
    before, client = dump(other.tenant), session_of(own)
    wrong, seen = [], 0
    for model, page in desk_pages():
        key = row_of(model, page, other)
        if key is None:
            continue
        gone = never_was(key)
        for theirs, nobodys in zip(urls(model, page, key), urls(model, page, gone), strict=True):
            for method in ("GET", "POST"):
                seen += 1
                given = said(client, method, theirs, key)
                if given != said(client, method, nobodys, gone) or given[0] == 200:
                    wrong.append((method, theirs, given[:3]))
        for verb in page.all_verbs():
            action = {"action": verb.name, "confirmed": "1"}
            listed = url_of(model, "changelist")
            given = said(client, "POST", listed, key, _selected_action=str(key), **action)
            if given != said(client, "POST", listed, gone, _selected_action=str(gone), **action):
                wrong.append((verb.name, listed, given[:3]))
    assert wrong == []
    assert seen > 250
    assert dump(other.tenant) == before


def test_customers_of_another_company_cannot_be_amended(worlds: tuple[World, World]) -> None:
    own, other = worlds
    before, client = dump(other.tenant), session_of(own)
    times = {"start": "2020-01-01T00:00", "end": "2030-01-01T00:00", "reason": "tried"}
    with as_superuser():
        theirs = Customer.objects.filter(tenant=other.tenant).latest("pk")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT key FROM metering_usageevent WHERE tenant_id = %s",
                [other.tenant.id],
            )
            keys = [key for (key,) in cursor.fetchall()]
    assert keys
    asked: list[tuple[str, str, dict[str, str]]] = [
        ("customer", theirs.public_id, times),
        ("customer", str(theirs.external_id), times),
        ("keys", keys[0], {"reason": "tried"}),
    ]
    for field, name, given in asked:
        gone = encode("cus", new_id()) if field == "customer" else "never-was"
        for step in ("preview", "apply"):
            told = [
                said(
                    client,
                    "POST",
                    f"/{AMEND}",
                    key,
                    step=step,
                    action="void",
                    **given,
                    **{field: key},
                )
                for key in (name, gone)
            ]
            assert told[0] == told[1]
            assert told[0][0] == 200
    assert dump(other.tenant) == before


def test_no_list_and_no_search_tells_of_another_company(worlds: tuple[World, World]) -> None:
    own, other = worlds
    client = session_of(own)
    heard = []
    for model, page in desk_pages():
        if not page.has_view_permission(_request(client)):
            continue
        lists = url_of(model, "changelist")
        asked = [{}, {"tenant": other.tenant.public_id}, {"q": other.words[0]}]
        for query in asked if page.search_fields else asked[:2]:
            response: Any = client.get(lists, query)
            text = response.content.decode().replace(f'value="{other.words[0]}"', "")
            sent = {str(value) for value in query.values()}
            keys = {*other.ids, *other.words, str(other.tenant.id)} - sent
            heard += [(lists, query, one) for one in keys if one in text]
    assert heard == []


def _request(client: Client) -> Any:
    return client.get("/admin/").wsgi_request


def test_ones_own_pages_are_there(worlds: tuple[World, World]) -> None:
    """Without this, pages that answer nobody would hold nothing."""
    own, _ = worlds
    client = session_of(own)
    statuses = {
        model.__name__: said(client, "GET", url_of(model, "change", key), key)[0]
        for model, page in desk_pages()
        if (key := row_of(model, page, own)) is not None
    }
    assert {name: status for name, status in statuses.items() if status != 200} == {}
    assert len(statuses) > 40


def uncrawled(found: list[Route]) -> list[str]:
    """Return the paths of the desk that no test above opens."""
    known = set(OTHER)
    for model, _ in desk_pages():
        base = f"admin/{model._meta.app_label}/{model._meta.model_name}/"
        known |= {base, f"{base}add/"} | {f"{base}{{object_id}}/{page}/" for page in PAGES}
        known |= {f"{base}{{object_id}}/{one}/{{name}}/" for one in ("verb", "download")}
        known.add(f"{base}{{object_id}}/")  # leads to the change page
    return [
        route.path
        for route in found
        if route.path.startswith("admin/")
        and route.path not in known
        and not route.path.startswith(OTHER_PATTERNS)
    ]


def test_every_page_is_crawled() -> None:
    assert uncrawled(routes()) == []


def test_a_page_without_a_row_shows() -> None:
    planted = Route("admin/invoicing/invoice/{object_id}/forget/", ("POST",), None)
    assert uncrawled([*routes(), planted]) == [planted.path]
