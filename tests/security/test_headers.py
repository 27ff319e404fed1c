"""What every answer tells browsers, and that no page of the desk is changed without its token."""

import os
import subprocess
import sys
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import pytest
from django.conf import settings
from django.test import Client

from tests.make.api import Api
from tests.make.tenants import make_key, make_operator, make_tenant
from tests.security.routes import routes
from tests.security.world import dump, filled, make_full, places

pytestmark = pytest.mark.django_db

# on every answer, whoever asks for whatever
ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
UNKNOWN: Final = ("nowhere", "api/nowhere", "api/v1/nowhere", "admin/nowhere/")


def paths() -> list[str]:
    """Return a path of every route, and of none."""
    known = [
        filled(route.path, dict.fromkeys(places(route.path), "x"))
        for route in routes()
        if "(?P" not in route.path
    ]
    return [*known, *UNKNOWN]


@pytest.mark.holds("S27", "S28", "S50")
@pytest.mark.parametrize(
    ("who", "where"), [("nobody", ""), ("key", "api/"), ("operator", "admin/")]
)
def test_every_answer_has_its_headers(who: str, where: str) -> None:
    client = Client()
    headers = {}
    if who == "key":
        headers = {"Authorization": f"Bearer {make_key(make_tenant())}"}
    if who == "operator":
        client.force_login(make_operator(is_superuser=True))
    wrong = []
    for path in paths():
        if not path.startswith(where):
            continue
        answer = client.get("/" + path, headers=headers)
        missing = {name for name, value in ALWAYS.items() if answer.headers.get(name) != value}
        if path == "api/docs":  # which may open windows to log in elsewhere
            missing.discard("Cross-Origin-Opener-Policy")
        policy = answer.headers.get("Content-Security-Policy", "")
        if "frame-ancestors 'none'" not in policy or "default-src" not in policy:
            missing.add("Content-Security-Policy")
        if path.startswith("api/v1/") and "no-store" not in answer.headers.get("Cache-Control", ""):
            missing.add("Cache-Control")
        if missing:
            wrong.append((path, sorted(missing)))
    assert wrong == []


@pytest.mark.holds("S27")
@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/api/v1/customers", "default-src 'none'; frame-ancestors 'none'"),
        ("/api/openapi.json", "default-src 'none'; frame-ancestors 'none'"),
        ("/", "script-src 'none'"),
        ("/health", "script-src 'none'"),
        ("/admin/login/", "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
        ("/api/docs", "script-src 'self' 'unsafe-inline'"),
    ],
)
def test_a_page_may_run_what_it_brings_and_nothing_else(path: str, part: str) -> None:
    assert Client().get(path).headers["Content-Security-Policy"].endswith(part) or (
        part in Client().get(path).headers["Content-Security-Policy"]
    )


@pytest.mark.holds("S29")
def test_no_page_of_the_desk_takes_a_post_without_its_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_operator(is_superuser=True))
    answers = {path: client.post("/" + path).status_code for path in paths() if "admin/" in path}
    assert {path: code for path, code in answers.items() if code not in {403, 404}} == {}
    assert len(answers) > 400


@pytest.mark.holds("S29")
def test_reading_changes_nothing() -> None:
    world = make_full("a")
    client = Client()
    client.force_login(world.member.operator)
    before = dump(world.tenant)
    for path in paths():
        if path.startswith("admin/"):
            client.get("/" + path)
    assert dump(world.tenant) == before


@pytest.mark.holds("S21", "S29")
def test_the_api_honours_no_cookie() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_operator(is_superuser=True))
    answer: Any = client.post("/api/v1/tenants", "{}", content_type="application/json")
    assert (answer.status_code, answer.json()["reason"]) == (401, "wrong_realm")


@pytest.mark.holds("S60", "B128")
@pytest.mark.parametrize("target", ["//evil.com", "https:evil.com", "\\evil", "https://evil.com/"])
def test_logging_in_leads_nowhere_else(target: str) -> None:
    operator = make_operator()
    form = {"username": operator.email, "password": "correct horse battery", "next": target}
    answer = Client().post(f"/admin/login/?next={target}", form)
    led = urlsplit(urljoin("http://testserver/admin/login/", answer.headers["Location"]))
    assert (answer.status_code, led.netloc) == (302, "testserver")


@pytest.mark.holds("S43", "S49")
def test_another_host_is_refused() -> None:
    answer = Client(HTTP_HOST="evil.com").get("/api/v1/customers")
    assert (answer.status_code, "evil" in answer.content.decode()) == (400, False)


@pytest.mark.holds("S35", "S46")
def test_the_broker_carries_json_alone() -> None:
    assert (settings.CELERY_ACCEPT_CONTENT, settings.CELERY_TASK_SERIALIZER) == (["json"], "json")


_ASK: Final = """
import json, django
django.setup()
from django.conf import settings as s
names = ["SESSION_COOKIE_NAME", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_NAME", "CSRF_COOKIE_SECURE",
         "SECURE_HSTS_SECONDS", "SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_SSL_REDIRECT", "DEBUG"]
print(json.dumps([getattr(s, name) for name in names]))
"""


@pytest.mark.holds("S7", "S27", "S43")
def test_behind_https_cookies_and_browsers_are_bound_to_it() -> None:
    environment = {
        **os.environ,
        "PUBLIC_URL": "https://billing.example.com",
        "DJANGO_SETTINGS_MODULE": "billing_project.settings",
        "PYTHONWARNINGS": "ignore",
    }
    said = subprocess.run(
        [sys.executable, "-c", _ASK],
        env=environment,
        cwd=settings.BASE_DIR,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.strip() == (
        '["__Host-desk", true, "__Host-desk-csrf", true, 31536000, true, true, false]'
    )


@pytest.mark.holds("S38")
def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    api = Api(make_key(make_tenant()))
    answer = api.send("POST", "/customers", b" " * 1_048_577)
    assert (answer.status_code, answer.json()["reason"]) == (413, "body_too_large")
