"""What scopes allow."""

from datetime import UTC, datetime

import pytest

from apps.core.ids import new_id
from apps.core.web.principal import Principal


@pytest.mark.parametrize(
    ("scopes", "resource", "access", "allowed"),
    [
        ([], "customers", "read", False),
        (["customers:read"], "customers", "read", True),
        (["customers:read"], "customers", "write", False),
        (["customers:write"], "customers", "read", True),
        (["customers:write"], "customers", "write", True),
        (["customers:write"], "invoices", "read", False),
        (["*:read"], "invoices", "read", True),
        (["*:read"], "invoices", "write", False),
        (["*:write"], "invoices", "read", True),
        (["*:write"], "invoices", "write", True),
    ],
)
def test_may(*, scopes: list[str], resource: str, access: str, allowed: bool) -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    principal = Principal("api_key:key_x", new_id(), frozenset(scopes), at)
    assert principal.may(resource, access) is allowed
