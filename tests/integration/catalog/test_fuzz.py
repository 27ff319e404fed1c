"""Whatever a catalog holds in whatever place: it is refused with the place, or taken whole."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.catalog.test_catalog import CATALOG
from tests.make.api import Api
from tests.make.tenants import make_key, make_tenant

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.holds("B79", "S34")]

_ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    10**400,
    1.5,
    "",
    "\x00",
    "\ud800",
    "x" * 300,
    "1e400",
    "NaN",
    "-0",
    "99999999999999999999.999999999999",
    "__import__('os').system('true')",
    "monthly",
    "USD",
    [],
    {},
    [[]],
    {"model": "flat"},
)
Path = tuple[str | int, ...]


def places(value: Any, before: Path = ()) -> Iterator[Path]:
    """Yield the way to every part of a document."""
    yield before
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for name, part in parts:
        yield from places(part, (*before, name))


_PLACES: Final = [path for path in places(CATALOG) if path]


@st.composite
def catalogs(draw: st.DrawFn) -> Any:
    """Draw a good catalog of which one to three parts are something else, gone, or there twice."""
    document = deepcopy(CATALOG)
    for path in draw(st.lists(st.sampled_from(_PLACES), min_size=1, max_size=3)):
        _spoil(draw, document, path)
    return document


def _spoil(draw: st.DrawFn, document: Any, path: Path) -> None:
    *way, last = cast("tuple[Any, ...]", path)
    inner: Any = document
    for name in way:
        if not _has(inner, name):
            return  # it was spoiled before
        inner = inner[name]
    if not _has(inner, last):
        return
    match draw(st.sampled_from(["change", "remove", "add", "repeat"])):
        case "change":
            inner[last] = draw(st.sampled_from(_ODD))
        case "remove":
            del inner[last]
        case "add" if isinstance(inner, dict):
            inner[draw(st.sampled_from(["extra", "tiers", "key", "currency"]))] = draw(
                st.sampled_from(_ODD)
            )
        case _ if isinstance(inner, list):
            inner.append(deepcopy(inner[last]))
        case _:
            pass


def _has(inner: Any, name: Any) -> bool:
    if isinstance(inner, dict):
        return name in inner
    return isinstance(inner, list) and isinstance(name, int) and name < len(inner)


@pytest.fixture
def api() -> Api:
    return Api(make_key(make_tenant()))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(catalogs())
def test_a_spoiled_catalog_is_refused_with_its_places_or_taken_whole(
    api: Api, document: Any
) -> None:
    before = api.get("/catalog").json()
    answer = api.send("POST", "/catalog", json.dumps(document), key=None)
    told = answer.json()
    if answer.status_code in {400, 409, 413, 422}:
        assert told["detail"]
        assert api.get("/catalog").json() == before
    else:
        assert answer.status_code == 200
        again = api.send("POST", "/catalog", json.dumps(document), key=None).json()
        assert {one["change"] for one in again["items"]} <= {"unchanged"}
