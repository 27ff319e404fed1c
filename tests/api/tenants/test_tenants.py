"""Creating, seeing and changing tenants."""

import base64
import struct
import zlib
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from apps.core.clock import now
from apps.core.ids import encode
from apps.core.models import AuditEvent
from apps.tenants import tokens
from apps.tenants.domain import Role
from apps.tenants.models import Operator, Tenant
from tests.make.api import Api
from tests.make.tenants import make_key, make_member, make_operator, make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

BODY = {"slug": "globex", "name": "Globex", "currency": "EUR", "zone": "Europe/Berlin"}


def as_operator(operator: Operator, **headers: str) -> Api:
    token = tokens.Token(operator.id, tokens.password_stamp(operator.password), None)
    return Api(tokens.sign(token, at=now(), lifetime=timedelta(hours=1)), **headers)


def png(width: int = 2, height: int = 2, *, extra: bytes = b"", tail: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xff\0\0" * width) * height)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tEXt", extra) if extra else b"")
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
        + tail
    )


def uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def test_an_operator_of_the_installation_creates_a_tenant_and_its_twin() -> None:
    root = as_operator(make_operator(is_superuser=True))
    answer = root.post("/tenants", BODY)
    assert answer.status_code == 201
    body = answer.json()
    twin = Tenant.objects.get(slug="globex", mode="test")
    assert (body["object"], body["mode"], body["slug"]) == ("tenant", "live", "globex")
    assert (body["legal_name"], body["currency"], body["zone"]) == (
        "Globex",
        "EUR",
        "Europe/Berlin",
    )
    assert body["twin"] == twin.public_id
    assert (twin.currency, encode("ten", twin.twin_id)) == ("EUR", body["id"])
    with as_superuser():
        assert AuditEvent.objects.filter(type="tenant.created").count() == 2

    again = root.post("/tenants", BODY)
    assert (again.status_code, again.json()["reason"]) == (409, "slug_taken")
    assert again.json()["errors"][0]["field"] == "slug"
    assert Tenant.objects.count() == 2


def test_a_repeat_creates_no_second_tenant() -> None:
    root = as_operator(make_operator(is_superuser=True))
    first, second = (root.post("/tenants", BODY, key="once") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second.headers["Idempotent-Replayed"] == "true"
    assert Tenant.objects.count() == 2


def test_nobody_else_creates_tenants() -> None:
    tenant = make_tenant()
    owner = make_member(tenant).operator
    by_key = Api(make_key(tenant)).post("/tenants", BODY)
    by_owner = as_operator(owner, X_Tenant=tenant.slug).post("/tenants", BODY)
    assert [(one.status_code, one.json()["reason"]) for one in (by_key, by_owner)] == [
        (403, "installation_only"),
        (403, "scope_missing"),
    ]
    assert Tenant.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"slug": "No Slug"}, "slug", "invalid"),
        ({"slug": ""}, "slug", "blank"),
        ({"currency": "usd"}, "currency", "currency_unknown"),
        ({"zone": "Europe/Atlantis"}, "zone", "zone_unknown"),
        ({"name": 7}, "name", "string_expected"),
        ({"mode": "live"}, "mode", "unknown_field"),
    ],
)
def test_wrong_tenants(change: dict[str, Any], field: str, code: str) -> None:
    root = as_operator(make_operator(is_superuser=True))
    answer = root.post("/tenants", {**BODY, **change})
    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert Tenant.objects.count() == 0


def test_everybody_sees_his_tenants_only(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    one, two = make_tenant(), make_tenant()
    operator = make_member(one).operator
    ids = {one.public_id, encode("ten", one.twin_id)}
    api = as_operator(operator)
    with django_assert_num_queries(3):  # who asks, for which tenants, they
        page = api.get("/tenants").json()
    assert {row["id"] for row in page["data"]} == ids
    assert api.get(f"/tenants/{one.slug}").json()["id"] == one.public_id
    assert api.get(f"/tenants/{two.slug}").status_code == 404
    assert api.get(f"/tenants/{two.public_id}").status_code == 404
    by_key = Api(make_key(two)).get("/tenants").json()["data"]
    assert [row["id"] for row in by_key] == [two.public_id]
    root = as_operator(make_operator(is_superuser=True))
    assert len(root.get("/tenants").json()["data"]) == 4


def test_changing_how_a_tenant_does_business() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    changes = {
        "name": "Acme Corp",
        "legal_name": "Acme Corporation",
        "address": "1 Road\nTown",
        "tax_ids": [{"kind": "eu_vat", "value": "DE 136,695 976"}],
        "email": "books@acme.example",
        "logo": uri(png()),
        "zone": "Asia/Tokyo",
        "currency": "JPY",
        "invoice_prefix": "AC",
        "credit_memo_prefix": "ACC",
        "grace_period_hours": 36,
        "payment_term_days": 14,
        "late_usage": "ask",
        "proration_basis": "day",
        "largest_document": "5000.5",
        "most_document_lines": 300,
        "retry_days": [2, 5],
        "auto_collect": False,
        "event_max_age_days": 40,
        "event_max_ahead_minutes": 5,
    }
    answer = api.patch("/tenant", changes)
    assert answer.status_code == 200
    expected = {**changes, "tax_ids": [{"kind": "eu_vat", "value": "DE136695976"}]}
    assert {name: answer.json()[name] for name in changes} == expected
    assert api.get("/tenant").json() == answer.json()
    tenant.refresh_from_db()
    assert (tenant.grace_period, tenant.payment_term) == (timedelta(hours=36), timedelta(days=14))
    # the twin is a tenant of its own
    assert Tenant.objects.get(pk=tenant.twin_id).currency == "USD"
    event = AuditEvent.objects.get(type="tenant.changed")
    assert "currency" in event.data["fields"]
    # changing nothing records nothing
    assert api.patch("/tenant", {"name": "Acme Corp"}).status_code == 200
    assert AuditEvent.objects.filter(type="tenant.changed").count() == 1


@pytest.mark.parametrize(
    ("change", "status", "field", "code"),
    [
        ({"slug": "other"}, 400, "slug", "unknown_field"),
        ({"retry_days": [3, 1]}, 400, "retry_days", "not_ascending"),
        ({"retry_days": [0]}, 400, "retry_days[0]", "min_value"),
        ({"payment_term_days": "30"}, 400, "payment_term_days", "number_format"),
        ({"payment_term_days": -1}, 400, "payment_term_days", "min_value"),
        ({"payment_term_days": 3661}, 400, "payment_term_days", "max_value"),
        ({"auto_collect": "yes"}, 400, "auto_collect", "flag_format"),
        ({"largest_document": "0"}, 400, "largest_document", "number_too_small"),
        ({"most_document_lines": 0}, 400, "most_document_lines", "min_value"),
        ({"late_usage": "never"}, 400, "late_usage", "invalid_choice"),
        (
            {"tax_ids": [{"kind": "eu_vat", "value": "DE1"}]},
            422,
            "tax_ids[0].value",
            "tax_id_invalid",
        ),
        ({"logo": "data:image/svg+xml;base64,AAAA"}, 422, "logo", "logo_invalid"),
        ({"logo": "data:image/png;base64,%%%%"}, 422, "logo", "logo_invalid"),
        ({"logo": uri(b"GIF89a")}, 422, "logo", "logo_invalid"),
        ({"logo": uri(png()[:-4])}, 422, "logo", "logo_invalid"),
        ({"logo": uri(png(tail=b"<script>"))}, 422, "logo", "logo_invalid"),
        ({"logo": uri(png(3000, 1))}, 422, "logo", "logo_invalid"),
        ({"logo": uri(png()[:45] + b"?" + png()[46:])}, 422, "logo", "logo_invalid"),
    ],
)
def test_wrong_settings(change: dict[str, Any], status: int, field: str, code: str) -> None:
    tenant = make_tenant()
    answer = Api(make_key(tenant)).patch("/tenant", change)
    assert answer.status_code == status
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert not AuditEvent.objects.filter(type="tenant.changed").exists()


@pytest.mark.holds("B122", "S59", "S25")
def test_a_logo_keeps_nothing_but_the_picture() -> None:
    api = Api(make_key(make_tenant()))
    api.patch("/tenant", {"logo": uri(png(extra=b"Comment\0<script>alert(1)</script>"))})
    assert api.get("/tenant").json()["logo"] == uri(png())
    assert api.patch("/tenant", {"logo": ""}).json()["logo"] == ""


def test_an_admin_sees_the_settings_and_leaves_them() -> None:
    tenant = make_tenant()
    admin = as_operator(make_member(tenant, role=Role.ADMIN).operator, X_Tenant=tenant.slug)
    assert admin.get("/tenant").status_code == 200
    assert admin.patch("/tenant", {"name": "X"}).status_code == 403
