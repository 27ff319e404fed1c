"""What the health pages answer, and what they keep to themselves."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import time_machine
from celery import current_app
from django.db import OperationalError
from django.test import Client

from apps.backoffice.queries import installation
from apps.core.audit import seal_events
from apps.core.models import AuditPending, Heartbeat, Job
from tests.make.tenants import make_tenant

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECRET = "password=hunter2 host=10.0.0.7"  # noqa: S105 -- what must not be answered


def wait_for(condition: Callable[[], bool]) -> None:
    """Other databases of the server have transactions too, which hold the horizon back."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def get(path: str) -> tuple[int, Any]:
    answer = Client().get(path)
    return answer.status_code, json.loads(answer.content)


def test_live_needs_nothing() -> None:
    assert get("/health/live") == (200, {"status": "healthy"})


@pytest.mark.django_db
def test_ready_needs_the_database_and_its_migrations() -> None:
    assert get("/health/ready") == (
        200,
        {
            "status": "healthy",
            "dependencies": {"database": "ok", "role": "ok", "migrations": "ok", "cluster": "ok"},
        },
    )


@pytest.mark.django_db
@time_machine.travel(NOW, tick=False)
def test_all_is_well() -> None:
    Heartbeat.objects.create(name="worker", beaten_at=NOW - timedelta(minutes=1))
    assert get("/health") == (
        200,
        {
            "status": "healthy",
            "dependencies": {
                "database": "ok",
                "role": "ok",
                "migrations": "ok",
                "cluster": "ok",
                "cache": "ok",
                "message_broker": "ok",
                "worker": "ok",
                "jobs": "ok",
                "audit": "ok",
            },
        },
    )


@pytest.mark.django_db
@time_machine.travel(NOW, tick=False)
def test_a_late_worker_degrades() -> None:
    Heartbeat.objects.create(name="worker", beaten_at=NOW - timedelta(minutes=3))
    status, body = get("/health")
    assert (status, body["status"], body["dependencies"]["worker"]) == (200, "degraded", "late")


@pytest.mark.django_db
def test_a_worker_that_never_came_degrades() -> None:
    assert get("/health")[1]["dependencies"]["worker"] == "never seen"


@pytest.mark.django_db
def test_a_broker_that_is_away_degrades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    status, body = get("/health")
    assert (status, body["status"]) == (200, "degraded")
    assert body["dependencies"]["message_broker"] == "down"


@pytest.mark.django_db
def test_a_database_that_is_away_is_unhealthy_and_says_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise OperationalError(SECRET)

    monkeypatch.setattr(installation, "touch_database", refuse)
    for path in ("/health", "/health/ready"):
        status, body = get(path)
        assert (status, body["status"]) == (503, "unhealthy")
        assert body["dependencies"]["database"] == "down"
        assert SECRET not in json.dumps(body)


@pytest.mark.django_db
def test_pending_migrations_are_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "migrations_are_pending", lambda: True)
    status, body = get("/health/ready")
    assert (status, body["dependencies"]["migrations"]) == (503, "pending")


@pytest.mark.django_db
@time_machine.travel(NOW, tick=False)
def test_jobs_that_nobody_takes_degrade() -> None:
    tenant_id = make_tenant().id
    Job.objects.create(tenant_id=tenant_id, name="x", due_at=NOW - timedelta(hours=1))
    assert get("/health")[1]["dependencies"]["jobs"] == "stalled"


@pytest.mark.django_db(transaction=True)
def test_audit_events_that_lie_unsealed_degrade() -> None:
    make_tenant()
    assert get("/health")[1]["dependencies"]["audit"] == "ok"
    long_ago = int((NOW - timedelta(days=3650)).timestamp()) * 1000
    pending = AuditPending.objects.first()
    assert pending is not None
    AuditPending.objects.filter(pk=pending.pk).update(event_id=UUID(int=long_ago << 80))
    assert get("/health")[1]["dependencies"]["audit"] == "late"


@pytest.mark.django_db(transaction=True)
def test_sealing_makes_the_trail_healthy() -> None:
    make_tenant()
    late = datetime.now(UTC) + timedelta(minutes=11)  # noqa: TID251 -- ids hold the real time
    assert installation.sealing_is_late(late)
    wait_for(lambda: seal_events() == 0 and not installation.sealing_is_late(late))


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/health/ready"])
def test_health_is_for_reading(path: str) -> None:
    assert Client().post(path).status_code == 405


def test_the_landing_page_names_the_doors_and_needs_no_database() -> None:
    page = Client().get("/").content.decode()
    for door in ("/admin/", "/api/docs", "/api/openapi.json", "/health"):
        assert f'href="{door}"' in page
