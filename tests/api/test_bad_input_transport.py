"""Bad input, B1 to B34: how a request is sent, who sends it, and its keys.

Every row says what is sent and what comes back: the status, the stable reason, which field is to
blame and why, and words that the sentence for people holds. Whatever comes back, nothing is stored.
"""

import gzip
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import pytest
from django.test import Client

from apps.core.clock import now
from apps.core.ids import encode, new_id
from apps.core.models import AuditEvent, IdempotencyRecord
from apps.customers.models import Customer
from apps.tenants.models import ApiKey, Tenant
from apps.tenants.operations import revoke_api_key
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, AT, make_key, make_operator, make_tenant

JSON: Final = "application/json"
GOOD: Final = b'{"name": "Globex"}'
PATH: Final = "/api/v1/customers"


@dataclass(frozen=True)
class Row:
    """One bad request and its answer; ``{words}`` in path and headers come from the world."""

    name: str
    status: int
    reason: str
    # (field, code) of the errors that are listed
    errors: tuple[tuple[str, str], ...] = ()
    says: str = ""
    method: str = "POST"
    path: str = PATH
    body: bytes = GOOD
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    credential: str = "{key}"
    answer_headers: dict[str, str] = field(default_factory=dict)


def unreadable(name: str, body: bytes, code: str, says: str, where: str = "") -> Row:
    return Row(name, 400, "body_invalid", ((where, code),), says, body=body)


def of_type(name: str, content_type: str, body: bytes = GOOD) -> Row:
    return Row(name, 415, "unsupported_media_type", body=body, content_type=content_type)


def read(name: str, query: str, where: str, code: str, says: str = "") -> Row:
    reason = "page_invalid" if code in ("page_size", "cursor_invalid") else "parameter_invalid"
    path = f"{PATH}?{query}"
    return Row(name, 400, reason, ((where, code),), says, method="GET", path=path, body=b"")


def keyed(name: str, key: str) -> Row:
    errors = (("Idempotency-Key", "idempotency_key_invalid"),)
    says = "1 to 255 printable ASCII characters"
    headers = {"Idempotency-Key": key}
    return Row(name, 400, "idempotency_key_invalid", errors, says, headers=headers)


def unknown(name: str, path: str, status: int = 404, reason: str = "not_found") -> Row:
    return Row(name, status, reason, method="GET", path=path, body=b"")


def with_credential(name: str, reason: str, credential: str, **more: Any) -> Row:
    return Row(
        name,
        401,
        reason,
        credential=credential,
        answer_headers={"WWW-Authenticate": "Bearer"},
        **more,
    )


ROWS: Final = (
    # --- 3.1 transport and JSON ---
    unreadable("B1 empty", b"", "body_empty", "send a JSON object"),
    unreadable("B1 blank", b" \n ", "body_empty", "send a JSON object"),
    unreadable("B2 no JSON", b"{a:1}", "json_invalid", "line 1, column 2"),
    unreadable("B2 trailing comma", b'{"name":\n "G",}', "json_invalid", "line 2"),
    unreadable("B2 two values", b'{"name":"G"} {}', "json_invalid", "line 1, column 14"),
    unreadable("B2 comment", b'{"name":"G"} // x', "json_invalid", "line 1"),
    unreadable("B2 control character", b'{"name":"a\nb"}', "json_invalid", "line 1"),
    unreadable("B3 array", b'[{"name":"G"}]', "json_type", "got array"),
    unreadable("B3 string", b'"G"', "json_type", "got string"),
    unreadable("B3 number", b"1", "json_type", "got number"),
    unreadable("B3 null", b"null", "json_type", "got null"),
    unreadable("B3 boolean", b"true", "json_type", "got boolean"),
    unreadable("B4 NaN", b'{"name":NaN}', "json_nan", "NaN"),
    unreadable("B4 Infinity", b'{"name":-Infinity}', "json_nan", "-Infinity"),
    unreadable("B5 1e400", b'{"metadata":{"a":1e400}}', "number_out_of_range", "1e400"),
    unreadable(
        "B5 exponent of 20 digits", b'{"a":1e99999999999999999999}', "number_out_of_range", "1e9"
    ),
    unreadable(
        "B6 key twice",
        b'{"name":"a","name":"b"}',
        "json_duplicate_key",
        "'name' occurs twice",
        "name",
    ),
    unreadable(
        "B6 key twice below",
        b'{"name":"a","metadata":{"k":"1","k":"2"}}',
        "json_duplicate_key",
        "'k' occurs twice",
        "k",
    ),
    unreadable("B7 100,000 brackets", b"[" * 100_000, "json_depth", "maximum is 20"),
    unreadable(
        "B7 nested 20,000", b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "json_depth", "maximum is 20"
    ),
    unreadable("B7 nested 21", b'{"a":' * 21 + b"1" + b"}" * 21, "json_depth", "maximum is 20"),
    unreadable(
        "B7 brackets and quotes without end", b"[" * 21 + b'\\"' * 400_000, "json_depth", "is 20"
    ),
    unreadable(
        "B8 NUL in a free object",
        b'{"name":"G","metadata":{"a":"\\u0000"}}',
        "nul_character",
        "NUL",
        "metadata.a",
    ),
    unreadable(
        "B9 half a surrogate pair",
        b'{"name":"G","metadata":{"a":"\\ud800"}}',
        "invalid_unicode",
        "surrogate",
        "metadata.a",
    ),
    unreadable("B10 NUL in text", b'{"name":"a\\u0000b"}', "nul_character", "NUL", "name"),
    unreadable(
        "B10 surrogate in text", b'{"name":"\\udfff"}', "invalid_unicode", "surrogate", "name"
    ),
    unreadable("B10 NUL in a key", b'{"na\\u0000me":"G"}', "nul_character", "NUL"),
    unreadable("B11 broken UTF-8", b'{"name":"\xff"}', "encoding", "byte 9"),
    unreadable("B11 encoded surrogate", b'{"name":"\xed\xa0\x80"}', "encoding", "UTF-8"),
    unreadable("B11 UTF-16", '{"name":"G"}'.encode("utf-16"), "encoding", "byte order mark"),
    unreadable("B11 BOM", b"\xef\xbb\xbf" + GOOD, "encoding", "byte order mark"),
    unreadable("B12 5,000 digits", b'{"a":' + b"1" * 5000 + b"}", "number_too_long", "at most 40"),
    unreadable("B12 2,000 digits", b'{"a":' + b"1" * 2000 + b"}", "number_too_long", "at most 40"),
    unreadable("B12 41 decimals", b'{"a":0.' + b"1" * 41 + b"}", "number_too_long", "at most 40"),
    of_type("B13 none", ""),
    of_type("B13 text", "text/plain"),
    of_type("B13 XML", "application/xml", b"<name>G</name>"),
    of_type("B13 near", "application/jsonp"),
    of_type("B14 form", "application/x-www-form-urlencoded", b"name=Globex"),
    of_type("B14 multipart", "multipart/form-data; boundary=x", b"--x--"),
    Row(
        "B15 too large",
        413,
        "body_too_large",
        says="at most 1048576 bytes",
        body=b'{"name":"' + b"x" * 1_048_576 + b'"}',
    ),
    Row(
        "B16 gzip bomb",
        415,
        "unsupported_media_type",
        says="not compressed",
        body=gzip.compress(b"0" * 10_000_000),
        headers={"Content-Encoding": "gzip"},
    ),
    Row(
        "B17 wrong method",
        405,
        "method_not_allowed",
        method="PUT",
        answer_headers={"Allow": "GET, POST, HEAD, OPTIONS"},
    ),
    Row("B17 delete", 405, "method_not_allowed", method="DELETE"),
    unknown("B17 unknown path", "/api/v1/custommers", reason="endpoint_not_found"),
    unknown("B17 slash at the end", f"{PATH}/", reason="endpoint_not_found"),
    Row(
        "B18 unknown field",
        400,
        "invalid",
        (("nmae", "unknown_field"),),
        "Did you mean 'name'?",
        body=b'{"name":"G","nmae":"H"}',
    ),
    read("B19 unknown filter", "curency=USD", "curency", "unknown_parameter", "'currency'"),
    read("B19 sort", "order_by=name", "order_by", "unknown_parameter", "Known: "),
    read("B19 expand", "expand=tenant", "expand", "unknown_parameter"),
    Row(
        "B19 on a write",
        400,
        "parameter_invalid",
        (("dry_run", "unknown_parameter"),),
        path=f"{PATH}?dry_run=1",
    ),
    read("B20 1e9", "limit=1000000000", "limit", "page_size", "1 to 100"),
    read("B20 -1", "limit=-1", "limit", "page_size"),
    read("B20 abc", "limit=abc", "limit", "page_size"),
    read("B20 0", "limit=0", "limit", "page_size"),
    read("B20 101", "limit=101", "limit", "page_size"),
    read("B20 other digits", "limit=%EF%BC%91%EF%BC%92", "limit", "page_size"),
    read("B20 empty", "limit=", "limit", "page_size"),
    read("B20 cursor made up", "cursor=abc", "cursor", "cursor_invalid", "next_cursor"),
    read("B20 cursor empty", "cursor=", "cursor", "cursor_invalid"),
    read("B20 cursor changed", "cursor=x{own_cursor}", "cursor", "cursor_invalid"),
    read("B20 cursor of another tenant", "cursor={other_cursor}", "cursor", "cursor_invalid"),
    Row(
        "B21 two Authorization headers",
        400,
        "header_invalid",
        (("Authorization", "credential_repeated"),),
        credential="{key},Bearer {key}",
    ),
    read("B22 twice", "currency=USD&currency=EUR", "currency", "parameter_repeated", "once"),
    read("B22 NUL", "currency=%00", "currency", "nul_character"),
    # --- 3.2 identity, keys, idempotency ---
    with_credential("B23 no key", "api_key_missing", ""),
    with_credential("B23 malformed", "api_key_invalid", "sk_live_x"),
    with_credential("B23 unknown", "api_key_invalid", "sk_live_" + "A" * 43),
    with_credential("B23 revoked", "api_key_revoked", "{revoked}"),
    with_credential("B23 expired", "api_key_expired", "{expired}"),
    with_credential("B24 in the URL", "api_key_in_url", "", path=PATH + "?api_key={key}"),
    unknown("B25 test object, live key", PATH + "/{test_customer}", reason="mode_mismatch"),
    Row(
        "B26 no scope",
        403,
        "scope_missing",
        says="customers:write",
        credential="{reading}",
    ),
    with_credential(
        "B27 session of the admin site", "wrong_realm", "", headers={"Cookie": "{session}"}
    ),
    Row(
        "B28 none where money moves",
        400,
        "idempotency_key_invalid",
        (("Idempotency-Key", "idempotency_key_required"),),
        "send an Idempotency-Key header",
        path="/api/v1/invoices/inv_01h455vb4pex5vsknk084sn02q/pay",
        body=b"",
    ),
    keyed("B29 empty", ""),
    keyed("B29 256 characters", "x" * 256),
    keyed("B29 control character", "a\tb"),
    keyed("B29 not ASCII", "clé"),
    Row("B30 other body", 409, "idempotency_key_reused", headers={"Idempotency-Key": "used"}),
    Row(
        "B31 in progress",
        409,
        "idempotency_in_progress",
        headers={"Idempotency-Key": "working"},
        answer_headers={"Retry-After": "1"},
    ),
    Row(
        "B32 other endpoint",
        409,
        "idempotency_key_reused",
        path="/api/v1/members",
        headers={"Idempotency-Key": "used"},
    ),
    unknown("B33 another tenant's", PATH + "/{other_customer}"),
    Row(
        "B33 another tenant's, write",
        404,
        "not_found",
        method="PATCH",
        path=PATH + "/{other_customer}",
    ),
    Row(
        "B33 another tenant's, in a body",
        404,
        "not_found",
        (("test_clock", "not_found"),),
        body=b'{"name":"G","test_clock":"clk_01h455vb4pex5vsknk084sn02q"}',
    ),
    unknown("B34 of another kind", f"{PATH}/inv_01h455vb4pex5vsknk084sn02q"),
    unknown("B34 capitals", f"{PATH}/CUS_01H455VB4PEX5VSKNK084SN02Q"),
    unknown("B34 too large", f"{PATH}/cus_81h455vb4pex5vsknk084sn02q"),
    unknown("B34 dots", f"{PATH}/..%2F..%2Fadmin", reason="endpoint_not_found"),
    unknown("B34 NUL", f"{PATH}/%00"),
    unknown("B34 broken UTF-8", f"{PATH}/%ff%fe"),
    read("B34 in a filter", "test_clock=cus_1", "test_clock", "id_malformed", "clk_"),
    Row(
        "B34 in a body",
        400,
        "invalid",
        (("test_clock", "id_malformed"),),
        "clk_",
        body=b'{"name":"G","test_clock":"../clk"}',
    ),
)


# what takes more than a key: it is made for the rows that name it
NAMES: Final = (
    "own_cursor",
    "other_cursor",
    "revoked",
    "expired",
    "reading",
    "session",
    "other_customer",
    "test_customer",
    "used",
    "working",
)


def make_world() -> dict[str, str]:
    """Make everything that rows can name."""
    tenant, other = make_tenant(), make_tenant()
    session = Client()
    session.force_login(make_operator(is_superuser=True))
    revoked = make_key(tenant)
    revoke_api_key(ApiKey.objects.get(tenant=tenant).id, actor=ACTOR, at=AT)
    key = make_key(tenant)
    api, of_other = Api(key), Api(make_key(other))
    for owner in (tenant, tenant, other):
        make_customer(owner)
    customer = make_customer(other)
    used = api.post("/customers", {"name": "Used", "metadata": {"a": "b"}}, key="used")
    assert used.status_code == 201
    working = api.post("/customers", {"name": "Globex"}, key="working")
    assert working.status_code == 201
    # a request that is still being worked on, with the same bytes that the row sends
    answered = api.send("POST", "/customers", GOOD, key="same bytes")
    assert answered.status_code == 201
    fingerprint = IdempotencyRecord.objects.get(key="same bytes").fingerprint
    IdempotencyRecord.objects.filter(key="working").update(
        status=None, body=None, fingerprint=fingerprint, leased_until=now() + timedelta(minutes=1)
    )
    cursors = {
        name: one.get("/customers", limit=1).json()["next_cursor"]
        for name, one in (("own_cursor", api), ("other_cursor", of_other))
    }
    return {
        **cursors,
        "key": key,
        "revoked": revoked,
        "expired": make_key(tenant, expires_at=AT + timedelta(days=1)),
        "reading": make_key(tenant, scopes=["customers:read"]),
        "session": f"sessionid={session.cookies['sessionid'].value}",
        "other_customer": customer.public_id,
        "test_customer": make_customer(Tenant.objects.get(pk=tenant.twin_id)).public_id,
    }


def stored() -> list[Any]:
    """What is in the tables that the rows could touch."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (Customer, AuditEvent, IdempotencyRecord)
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.holds(
    "B1",
    "B2",
    "B3",
    "B4",
    "B5",
    "B6",
    "B7",
    "B8",
    "B9",
    "B10",
    "B11",
    "B12",
    "B13",
    "B14",
    "B15",
    "B16",
    "B17",
    "B18",
    "B19",
    "B20",
    "B22",
    "B23",
    "B24",
    "B25",
    "B26",
    "B27",
    "B28",
    "B29",
    "B30",
    "B31",
    "B32",
    "B33",
    "B34",
)
def test_bad_input(row: Row) -> None:
    named = {name for name in NAMES if name in f"{row.credential}{row.path}{row.headers}"}
    world = make_world() if named else {"key": make_key(make_tenant())}
    before = stored()
    headers = {name: text.format(**world) for name, text in row.headers.items()}
    if row.credential:
        headers["Authorization"] = "Bearer " + row.credential.format(**world)
    answer = Client().generic(
        row.method,
        row.path.format(**world),
        row.body,
        content_type=row.content_type,
        headers=headers,
    )
    body = json.loads(answer.content)
    assert (answer.status_code, body["status"], body["reason"]) == (
        row.status,
        row.status,
        row.reason,
    )
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert tuple((e["field"], e["code"]) for e in body.get("errors", ())) == row.errors
    assert row.says in " ".join([body["detail"], *(e["detail"] for e in body.get("errors", ()))])
    assert {name: answer.headers[name] for name in row.answer_headers} == row.answer_headers
    assert world["key"] not in answer.content.decode()
    after = stored()
    if row.name.startswith("B24"):  # the one thing that is written: that the key was exposed
        exposed = [one for one in after[1] if one["type"] == "api_key.exposed"]
        assert len(exposed) == 1
        after[1] = [one for one in after[1] if one not in exposed]
    assert after == before


@pytest.mark.django_db
@pytest.mark.holds("B33", "S4")
def test_another_tenants_object_and_none_are_answered_in_the_same_bytes() -> None:
    world = make_world()
    bodies = set()
    for name in (world["other_customer"], encode("cus", new_id())):
        answer = Api(world["key"], X_Request_Id="same").get(f"/customers/{name}")
        bodies.add(answer.content.decode().replace(name, "…"))
    assert len(bodies) == 1


@pytest.mark.django_db
def test_how_deep_and_long_good_input_may_be() -> None:
    api = Api(make_key(make_tenant()))
    brackets_in_text = {"name": "[" * 100 + '\\"{' * 20}
    assert api.post("/customers", brackets_in_text).status_code == 201
    zero = api.send("POST", "/customers", b'{"name":"G","nmae":0e999999999999999999}')
    assert zero.json()["errors"][0]["code"] == "unknown_field"
    for content_type in ("application/json; charset=utf-8", "APPLICATION/JSON"):
        answer = api.send("POST", "/customers", GOOD, content_type=content_type)
        assert answer.status_code == 201


# --- what never reaches the application: answered by the web server ---------------------------

SERVER_ROWS: Final = {
    "B21 line break in a header": b"X-Tenant: a\r b\r\n",
    "B21 bare line feed": b"X-Tenant: a\nX-Mode: live\x00\r\n",
    "B21 header of 64 KB": b"X-Tenant: " + b"a" * 65_536 + b"\r\n",
    "B21 two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "B21 length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "B21 length that is none": b"Content-Length: abc\r\n",
}


@pytest.fixture(scope="module")
def web_server() -> Iterator[int]:
    """The web server as it runs in production; the rows never reach its database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "billing_project.wsgi", "--no-control-socket"]
    server = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "--log-level", "critical"], env=os.environ
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield port
    server.terminate()
    server.wait(timeout=20)


@pytest.mark.parametrize("name", SERVER_ROWS)
@pytest.mark.holds("B21")
def test_bad_input_to_the_web_server(name: str, web_server: int) -> None:
    with socket.create_connection(("127.0.0.1", web_server), timeout=20) as caller:
        caller.sendall(
            b"POST /api/v1/customers HTTP/1.1\r\nHost: localhost\r\n"
            + SERVER_ROWS[name]
            + b"Connection: close\r\n\r\n"
        )
        answer = b""
        while chunk := caller.recv(65_536):
            answer += chunk
    status = int(answer.split(b" ", 2)[1])
    assert 400 <= status < 500
