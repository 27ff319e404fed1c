"""No write takes a value for a column that is not the caller's to set."""

import json
from typing import Any, Final
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import connection, models
from django.test import Client

from tests.make.api import Api
from tests.make.tenants import PASSWORD, make_operator
from tests.security.calls import CALLS, Call
from tests.security.routes import API, api_routes
from tests.security.world import World, called, filled, make_full, places

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S6", "B18")]

MARK: Final = "zz-injected"
NUMBER: Final = "777888999.123"
# take the caller's own JSON, which may have any member
FREE: Final = {"streams/{stream_name}/events", "streams/{stream_name}/events/bulk"}
# the routes that create what others only name
CREATES: Final = (
    Call("POST", "api-keys", {"name": "n", "scopes": ["*:read"]}),
    Call("POST", "members", {"email": "new@example.com", "role": "support"}),
    Call("POST", "test-clocks", {"name": "n", "now": "2026-01-01T00:00:00Z"}),
    Call("PATCH", "tenant", {"email": "new@example.com"}),
    Call("POST", "customers", {"name": "New"}),
    Call("POST", "meters", {"key": "new", "aggregation": "count"}),
    Call("POST", "streams", {"handle": "new", "event_name": "new", "subject_path": "a"}),
    Call("POST", "products", {"key": "new", "name": "New"}),
    Call("POST", "coupons", {"key": "new", "name": "New", "percentage": "5"}),
    Call("POST", "price-lists", {"key": "new", "name": "New"}),
    Call("POST", "credit-units", {"key": "new", "name": "New", "rate": "1"}),
    Call("POST", "features", {"key": "new", "kind": "limit"}),
    Call("POST", "tax-rates", {"key": "new", "name": "New", "percentage": "1", "country": "FR"}),
)


def columns() -> dict[str, Any]:
    """Return a value that shows for every column of every table of ours."""
    found: dict[str, Any] = {"is_superuser": True, "is_staff": True}
    for model in apps.get_models():
        if not model.__module__.startswith("apps."):
            continue
        for field in model._meta.concrete_fields:
            for name in (field.name, field.attname):
                found.setdefault(name, _value(field))
    return found


def _value(field: models.Field[Any, Any]) -> Any:
    kinds: dict[type, Any] = {
        models.ForeignKey: str(uuid4()),
        models.UUIDField: str(uuid4()),
        models.DecimalField: NUMBER,
        models.BooleanField: True,
        models.IntegerField: 777888999,
        models.DateTimeField: "2077-07-07T07:07:07Z",
        models.JSONField: {"mark": MARK},
    }
    return next((value for kind, value in kinds.items() if isinstance(field, kind)), MARK)


def stored() -> list[str]:
    """Return the tables in which an injected value stands."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [table for (table,) in cursor.fetchall()]
        found = []
        for table in tables:
            cursor.execute(
                f"SELECT count(*) FROM {table} t WHERE t::text ~ %s",  # noqa: S608 -- a table's name
                [f"{MARK}|777888999|2077-07-07"],
            )
            if cursor.fetchone() != (0,):
                found.append(table)
    return found


def sent(world: World, call: Call, injected: dict[str, Any]) -> tuple[int, Any]:
    """Call with one's own and the injected members; return status and body."""
    names = {place: world.names(place)[0] for place in (*places(call.path), *places(call.body))}
    own = filled(call.body or {}, {**names, "new": uuid4().hex})
    target = own["events"][0] if "events" in own else own
    target.update({name: value for name, value in injected.items() if name not in target})
    headers = {"Authorization": f"Bearer {world.keys[call.mode]}", "Idempotency-Key": uuid4().hex}
    answer: Any = Client().generic(
        call.method,
        f"/{API}{filled(call.path, names)}",
        json.dumps(own).encode(),
        content_type="application/json",
        headers=headers,
    )
    return answer.status_code, answer.json() if answer.content else {}


def test_no_write_takes_columns() -> None:
    world = make_full("a")
    operators = _operators()
    taken = {}
    for call in (*CREATES, *CALLS):
        if call.method == "GET" or call.path in FREE:
            continue
        status, body = sent(world, call, columns())
        if status < 400 and body.get("rejected") != 1:  # a batch is answered item by item
            taken[str(call)] = status
    assert taken == {}
    assert stored() == []
    assert _operators() == operators


def _operators() -> list[Any]:
    rows = apps.get_model("tenants", "Operator").objects.order_by("pk")
    return list(rows.values_list("pk", "is_superuser", "is_staff", "is_active"))


def test_logging_in_and_creating_tenants_take_none_either() -> None:
    root = make_operator(is_superuser=True)
    known = {"email": root.email, "password": PASSWORD}
    token = Api().post("/auth/login", known, key=None).json()["token"]
    tries = [
        (Api(), "/auth/login", known),
        (Api(token), "/tenants", {"slug": "new", "name": "New", "currency": "USD"}),
    ]
    for api, path, body in tries:
        answer = api.post(path, {**columns(), **body})
        refused = {
            one["field"] for one in answer.json()["errors"] if one["code"] == "unknown_field"
        }
        assert (answer.status_code, refused >= {"is_superuser", "tenant_id"}) == (400, True)
    assert stored() == []


def test_every_write_is_tried() -> None:
    writes = {(method, path) for method, path, _ in api_routes() if method != "GET"}
    free = {("POST", path.replace("stream_name", "handle")) for path in FREE}
    above = {("POST", "auth/login"), ("POST", "tenants")}
    assert writes - called((*CREATES, *CALLS)) == above
    assert free <= writes
