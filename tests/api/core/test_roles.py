"""Role by endpoint: who gets through each door, for every door that there is."""

from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import resolve

from apps.tenants.domain import RESOURCES, ROLE_SCOPES, Role, covers
from tests.make.api import Api
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db

OPEN = {("post", "/api/v1/auth/login")}
# tenants are created by operators of the installation, whatever the scopes
INSTALLATION = {("post", "/api/v1/tenants")}


def operations() -> list[tuple[str, str]]:
    """Return every method and path of the API."""
    schema = yaml.safe_load(Client().get("/api/openapi.json").content)
    return [(method, path) for path, methods in schema["paths"].items() for method in methods]


def resource_of(path: str) -> str:
    """Return what the door at this path stands for; those that take events in are no ``Door``."""
    view: Any = resolve(path.replace("{", "").replace("}", "")).func
    resource = str(getattr(getattr(view, "cls", view), "resource", "events"))
    assert resource in RESOURCES
    return resource


@pytest.mark.parametrize("role", list(Role))
def test_a_role_opens_exactly_its_doors(role: Role) -> None:
    api = Api(make_key(make_tenant(), scopes=ROLE_SCOPES[role]))
    wrong = []
    for method, path in operations():
        if (method, path) in OPEN:
            continue
        concrete = path.replace("{", "").replace("}", "").removeprefix("/api/v1")
        access = "read" if method == "get" else "write"
        allowed = covers(ROLE_SCOPES[role], [f"{resource_of(path)}:{access}"])
        answer = api.send(method.upper(), concrete, b"{}" if access == "write" else b"", key=None)
        refused = answer.status_code == 403 and answer.json()["reason"] == "scope_missing"
        if refused == allowed or (answer.status_code == 403) != (
            not allowed or (method, path) in INSTALLATION
        ):
            wrong.append((method, path, answer.status_code))
    assert wrong == []
