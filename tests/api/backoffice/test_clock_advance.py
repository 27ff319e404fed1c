"""POST and GET /test-clocks/{id}/advance."""

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.backoffice.operations import clocks
from apps.invoicing.models import Invoice
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import make_clock, make_key, make_tenant

START = datetime(2026, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant(slug="clocked", mode=Mode.TEST)


@pytest.fixture
def api(tenant: Tenant) -> Api:
    return Api(make_key(tenant))


@pytest.fixture
def clock(tenant: Tenant) -> Any:
    return make_clock(tenant, at=START, attach=True)


def path(clock: Any) -> str:
    return f"/test-clocks/{clock.public_id}/advance"


def test_a_year_passes(api: Api, tenant: Tenant, clock: Any) -> None:
    make_subscription(make_customer(tenant, at=START), make_plan(tenant, at=START), at=START)
    answer = api.post(path(clock), {"by": {"months": 12}})
    assert answer.status_code == 200
    body = answer.json()
    assert body == {
        "object": "clock_advance",
        "id": body["id"],
        "test_clock": clock.public_id,
        "status": "done",
        "begins_at": "2026-01-01T00:00:00Z",
        "to": "2027-01-01T00:00:00Z",
        "reached": "2027-01-01T00:00:00Z",
        "steps": body["steps"],
    }
    assert Invoice.objects.count() == 13
    assert api.get(path(clock)).json() == body
    assert api.get(f"/test-clocks/{clock.public_id}").json()["now"] == "2027-01-01T00:00:00Z"


def test_the_same_request_again_is_the_same_answer(api: Api, clock: Any) -> None:
    first = api.post(path(clock), {"by": {"days": 1}}, key="once")
    again = api.post(path(clock), {"by": {"days": 1}}, key="once")
    assert (again.status_code, again.json()) == (200, first.json())
    clock.refresh_from_db()
    assert clock.now == datetime(2026, 1, 2, tzinfo=UTC)


def test_what_takes_longer_is_told_so(
    api: Api, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = clocks.continue_advance

    def hurry(*args: Any, **values: Any) -> Any:
        return original(*args, **{**values, "within": clocks.AT_ONCE * 0})

    monkeypatch.setattr("apps.backoffice.api.views.continue_advance", hurry)
    answer = api.post(path(clock), {"to": "2026-02-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert api.get(path(clock)).json()["status"] == "running"
    busy = api.post(path(clock), {"to": "2026-03-01T00:00:00Z"})
    assert (busy.status_code, busy.json()["reason"]) == (409, "clock_busy")


def test_a_clock_that_never_moved_has_no_way(api: Api, clock: Any) -> None:
    assert api.get(path(clock)).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "field", "code"),
    [
        ({}, 400, "", "to_or_by"),
        ({"to": "2026-02-01T00:00:00Z", "by": {"days": 1}}, 400, "", "to_or_by"),
        ({"to": "2026-02-01"}, 400, "to", "timestamp_format"),
        ({"to": "2026-02-01T00:00:00"}, 400, "to", "timestamp_zone_required"),
        ({"by": {}}, 400, "by", "one_unit"),
        ({"by": {"days": 1, "months": 1}}, 400, "by", "one_unit"),
        ({"by": {"days": 0}}, 400, "by.days", "min_value"),
        ({"by": {"days": "1"}}, 400, "by.days", "number_format"),
        ({"by": {"fortnights": 1}}, 400, "by.fortnights", "unknown_field"),
        ({"by": {"years": 11}}, 400, "by.years", "max_value"),
        ({"to": "2037-01-01T00:00:00Z"}, 422, "to", "clock_too_far"),
    ],
)
def test_what_cannot_be_is_refused(  # noqa: PLR0917 -- one row of the table
    api: Api, clock: Any, body: Any, status: int, field: str, code: str
) -> None:
    answer = api.post(path(clock), body)
    errors = answer.json()["errors"]
    assert answer.status_code == status
    assert [(one["field"], one["code"]) for one in errors] == [(field, code)]
    clock.refresh_from_db()
    assert clock.now == START


def test_backwards_is_a_conflict(api: Api, clock: Any) -> None:
    answer = api.post(path(clock), {"to": "2025-12-31T23:59:59Z"})
    assert (answer.status_code, answer.json()["reason"]) == (409, "clock_backwards")


def test_a_clock_of_others_is_not_there(clock: Any) -> None:
    stranger = Api(make_key(make_tenant(mode=Mode.TEST)))
    assert stranger.post(path(clock), {"by": {"days": 1}}).status_code == 404
    assert stranger.get(path(clock)).status_code == 404


def test_it_needs_the_scope(tenant: Tenant, clock: Any) -> None:
    reader = Api(make_key(tenant, scopes=["*:read"]))
    assert reader.post(path(clock), {"by": {"days": 1}}).status_code == 403
