"""Whatever stands in a query, lists of the API and of the desk answer with one's own rows or refuse."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from apps.core.web.views import Door
from apps.tenants.domain import Mode
from tests.make.api import Api
from tests.make.tenants import make_key, make_tenant
from tests.security.calls import CALLS, NAMES_NOTHING
from tests.security.routes import api_routes
from tests.security.test_desk_crawler import desk_pages, session_of, url_of
from tests.security.world import World, filled, make_full, places

pytestmark = [pytest.mark.django_db, pytest.mark.holds("B127", "S31")]

STRINGS: Final = (
    "' OR 1=1 --",
    "%",
    "\x00",
    "(a+)+$" * 40,
    "a" * 10_240,
    "\u202e\U0001f4a3{0}%s",
    "9" * 400,
    "",
)
# names of columns, of parts of the ORM, and of what only looks like a filter
COLUMNS: Final = (
    "_connector",
    "_negated",
    "id__in",
    "pk__gte",
    "tenant",
    "tenant_id",
    "tenant__name__startswith",
    "tenant__user__password__startswith",
    "customer__tenant__keys__hash__contains",
    "order_by",
    "sort",
    "ordering",
    "expand",
    "fields",
    "filter",
    "q",
    "' OR 1=1 --",
)


@pytest.fixture
def worlds() -> tuple[World, World]:
    return make_full("a"), make_full("b")


def lists(world: World) -> Iterator[tuple[str, frozenset[str], Mode]]:
    """Yield every GET of the API, filled with one's own names, with the parameters that it knows."""
    known = {path: view for method, path, view in api_routes() if method == "GET"}
    told = {call.path.partition("?")[0]: call.mode for call in CALLS if call.method == "GET"}
    told.update({path: Mode.LIVE for method, path in NAMES_NOTHING if method == "GET"})
    shape = re.compile(r"\{\w+\}")
    views = {shape.sub("{}", path): view for path, view in known.items()}
    for path, mode in sorted(told.items()):
        view: Any = views[shape.sub("{}", path)]
        taken = frozenset({*view.filters, *view.parameters}) if issubclass(view, Door) else ()
        names = {place: world.names(place)[0] for place in places(path)}
        yield "/" + filled(path, names), frozenset({*taken, "limit", "cursor"}), mode


@pytest.mark.slow
def test_hostile_values_and_names_of_columns_find_nothing_and_break_nothing(
    worlds: tuple[World, World],
) -> None:
    own, other = worlds
    clients = {mode: Api(key) for mode, key in own.keys.items()}
    wrong, tried = [], 0
    for path, parameters, mode in lists(own):
        api = clients[mode]
        asked = [(name, value) for name in sorted(parameters) for value in STRINGS]
        asked += [(name, "1") for name in COLUMNS if name not in parameters]
        for name, value in asked:
            tried += 1
            answer = api.get(path, **{name: value})
            text = answer.content.decode(errors="replace")  # a PDF is none
            if answer.status_code >= 500 or any(word in text for word in other.words):
                wrong.append((path, name, value[:40], answer.status_code, text[:200]))
            if name in COLUMNS and name not in parameters:
                said = answer.json()
                if (answer.status_code, said["errors"][0]["code"]) != (400, "unknown_parameter"):
                    wrong.append((path, name, value, answer.status_code, text[:200]))
    assert wrong == []
    assert tried > 1500


def test_a_body_of_unknown_names_is_refused_at_once() -> None:
    body = {f"{number:x}": 1 for number in range(50_000)}
    answer = Api(make_key(make_tenant())).post("/customers", body)
    codes = [one["code"] for one in answer.json()["errors"]]
    assert (answer.status_code, codes) == (400, ["required"] + ["unknown_field"] * 20)


def test_what_is_refused_is_not_sent_back_whole() -> None:
    long = "a" * 10_240
    api = Api(make_key(make_tenant()))
    for name in ("external_id", "currency", "created_from", "limit", "cursor", "x" * 2000):
        answer = api.get("/customers", **{name: long})
        assert (name[:12], answer.status_code) == (name[:12], 400)
        assert len(answer.content) < 2048


@pytest.mark.holds("B126", "S44")
def test_the_desk_finds_nothing_of_another_company_by_any_filter_or_order(
    worlds: tuple[World, World],
) -> None:
    own, other = worlds
    client = session_of(own)
    wrong, tried = [], 0
    for model, page in desk_pages():
        if not page.has_view_permission(client.get("/admin/").wsgi_request):
            continue
        url = url_of(model, "changelist")
        asked = [("o", "1.-99.x"), ("p", "9" * 30), ("all", "'"), ("e", "' OR 1=1 --")]
        asked += [(name, value) for name in _filters(page) for value in ("' OR 1=1 --", "\x00")]
        for name, value in asked:
            tried += 1
            answer = client.get(url, {name: value})
            text = answer.content.decode()
            if answer.status_code not in {200, 302, 400} or any(one in text for one in other.words):
                wrong.append((url, name, value, answer.status_code))
    assert wrong == []
    assert tried > 250


def _filters(page: Any) -> list[str]:
    return [one if isinstance(one, str) else one[0] for one in page.list_filter][:3]
