"""What concerns rights and secrets is in the audit trail, and who guesses is in the log."""

import logging
from typing import Any

import pytest

from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from tests.make.api import Api
from tests.make.tenants import make_key, make_operator, make_tenant

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S56")]


def test_every_change_of_rights_says_who_made_it() -> None:
    tenant = make_tenant()
    owner = Api(make_key(tenant))
    before = set(AuditEvent.objects.values_list("pk", flat=True))
    key = owner.post("/api-keys", {"name": "spare", "scopes": ["customers:read"]}).json()
    new = owner.post(f"/api-keys/{key['id']}/rotate", {"overlap_hours": 1}).json()
    assert Api().get(f"/customers?key={new['secret']}").status_code == 401
    owner.post(f"/api-keys/{new['id']}/revoke")
    member = owner.post("/members", {"email": "ada@example.com", "role": "support"}).json()
    owner.patch(f"/members/{member['id']}", {"role": "finance"})
    owner.delete(f"/members/{member['id']}")
    owner.patch("/tenant", {"payment_term_days": 7})

    with tenant_scope(tenant.id):
        told = AuditEvent.objects.exclude(pk__in=before).order_by("pk")
        types = [(one.type, one.actor.partition(":")[0]) for one in told]
        actors = {one.actor for one in told if one.type != "api_key.exposed"}
    assert types == [
        ("api_key.created", "api_key"),
        ("api_key.created", "api_key"),
        ("api_key.rotated", "api_key"),
        ("api_key.exposed", "api_key"),
        ("api_key.revoked", "api_key"),
        ("member.added", "api_key"),
        ("member.changed", "api_key"),
        ("member.removed", "api_key"),
        ("tenant.changed", "api_key"),
    ]
    assert len(actors) == 1


def test_an_account_that_somebody_guesses_at_is_in_the_log_without_its_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    operator = make_operator(email="grace@example.com")
    given = {"email": operator.email, "password": "wrong horse battery"}
    with caplog.at_level(logging.WARNING, "apps.tenants.logins"):
        answers: list[Any] = [Api().post("/auth/login", given, key=None) for _ in range(7)]
    assert [one.status_code for one in answers][:5] == [401] * 5
    told = [one.getMessage() for one in caplog.records if one.name == "apps.tenants.logins"]
    assert len(told) == 2
    assert told[0].startswith("too many tries to log in to the account ")
    assert "grace" not in "".join(told)


def test_what_is_refused_for_a_missing_right_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api(make_key(make_tenant(), scopes=["customers:read"]))
    with caplog.at_level(logging.WARNING, "django.request"):
        assert api.get("/invoices").status_code == 403
    assert [one.getMessage() for one in caplog.records] == ["Forbidden: /api/v1/invoices"]
