"""Test clocks, the audit trail and the desk for dead jobs."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from pytest_django import DjangoAssertNumQueries

from apps.core.ids import encode, new_id
from apps.core.jobs import NewJob, enqueue_all
from apps.core.models import AuditEvent, Job
from apps.core.tenancy import tenant_scope
from apps.tenants.domain import Mode
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, make_clock, make_key, make_tenant

pytestmark = pytest.mark.django_db


def test_a_tenant_in_test_mode_lives_on_a_clock_for_good() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    api = Api(make_key(tenant))
    made = api.post("/test-clocks", {"name": "2026", "now": "2026-01-01T00:00:00+01:00"})
    assert made.status_code == 201
    clock = made.json()
    assert (clock["object"], clock["now"]) == ("test_clock", "2025-12-31T23:00:00Z")
    for _ in range(2):
        attached = api.post(f"/test-clocks/{clock['id']}/attach")
        assert (attached.status_code, attached.json()["test_clock"]) == (200, clock["id"])
    other = api.post("/test-clocks", {"name": "b", "now": "2026-01-01T00:00:00Z"}).json()
    refused = api.post(f"/test-clocks/{other['id']}/attach")
    assert (refused.status_code, refused.json()["reason"]) == (409, "clock_attached")
    assert api.get(f"/test-clocks/{clock['id']}").json() == clock
    assert [row["name"] for row in api.get("/test-clocks").json()["data"]] == ["b", "2026"]


def test_a_live_tenant_has_no_clocks() -> None:
    api = Api(make_key(make_tenant()))
    answer = api.post("/test-clocks", {"name": "b", "now": "2026-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["reason"]) == (409, "clock_on_live")


def test_a_clock_of_another_tenant_does_not_exist() -> None:
    clock = make_clock(make_tenant(mode=Mode.TEST))
    api = Api(make_key(make_tenant(mode=Mode.TEST)))
    assert api.get(f"/test-clocks/{clock.public_id}").status_code == 404
    assert api.post(f"/test-clocks/{clock.public_id}/attach").status_code == 404


@pytest.mark.parametrize("now", ["2026-01-01T00:00:00", "2026-02-30T00:00:00Z", 7, None])
def test_a_clock_needs_an_instant(now: object) -> None:
    api = Api(make_key(make_tenant(mode=Mode.TEST)))
    answer = api.post("/test-clocks", {"name": "x", "now": now})
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["errors"]] == ["now"]


def test_the_audit_trail_tells_what_happened_to_what() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    first = api.post("/customers", {"name": "Globex"}).json()["id"]
    api.post("/customers", {"name": "Initech"})
    api.patch(f"/customers/{first}", {"name": "Globex Corp"})
    make_customer(make_tenant())
    page = api.get("/audit-events", object=first).json()
    assert [row["type"] for row in page["data"]] == ["customer.changed", "customer.created"]
    row = page["data"][0]
    assert (row["object"], row["object_type"], row["object_id"]) == (
        "audit_event",
        "customer",
        first,
    )
    assert row["data"] == {"fields": "name"}
    assert row["actor"].startswith("api_key:key_")
    assert api.get(f"/audit-events/{row['id']}").json() == row
    created = api.get("/audit-events", type="customer.created").json()["data"]
    assert len(created) == 2
    assert api.get("/audit-events", actor="nobody").json()["data"] == []
    refused = api.get("/audit-events", kind="x")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "kind")


def make_job(tenant_id: UUID, **changes: object) -> Job:
    new = NewJob("tests.unknown", tenant_id, {"subject": str(new_id())})
    with tenant_scope(tenant_id):
        enqueue_all([new])
        Job.objects.filter(id=new.id).update(**changes)
        return Job.objects.get(id=new.id)


def test_dead_jobs_are_found_and_revived() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    ended = datetime(2026, 5, 1, tzinfo=UTC)
    dead = make_job(tenant.id, state="dead", attempts=8, reason="ValueError: x", ended_at=ended)
    waiting = make_job(tenant.id)
    make_job(make_tenant().id, state="dead", ended_at=ended)
    page = api.get("/jobs", state="dead").json()
    assert [row["id"] for row in page["data"]] == [dead.public_id]
    assert page["data"][0]["reason"] == "ValueError: x"
    path = f"/jobs/{dead.public_id}/revive"
    revived = api.post(path)
    assert (revived.status_code, revived.json()["state"], revived.json()["attempts"]) == (
        200,
        "pending",
        0,
    )
    assert api.post(path).json()["state"] == "pending"
    assert api.post(f"/jobs/{waiting.public_id}/revive").json()["state"] == "pending"
    event = AuditEvent.objects.get(type="job.revived")
    assert (event.object_id, event.actor[:8]) == (dead.public_id, "api_key:")
    done = make_job(tenant.id, state="done", ended_at=ended)
    refused = api.post(f"/jobs/{done.public_id}/revive")
    assert (refused.status_code, refused.json()["reason"]) == (409, "job_not_dead")


def test_jobs_of_others_do_not_exist() -> None:
    api = Api(make_key(make_tenant()))
    other = make_tenant().id
    job = make_job(other, state="dead", ended_at=datetime(2026, 5, 1, tzinfo=UTC))
    assert api.get(f"/jobs/{job.public_id}").status_code == 404
    assert api.post(f"/jobs/{job.public_id}/revive").status_code == 404
    with tenant_scope(other):
        assert Job.objects.get(id=job.id).state == "dead"
    assert api.get("/jobs", state="nowhere").status_code == 400


@pytest.mark.parametrize("rows", [1, 3])
def test_lists_take_one_query(rows: int, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    tenant = make_tenant(mode=Mode.TEST)
    api = Api(make_key(tenant))
    AuditEvent.objects.count()
    for _ in range(rows):
        make_clock(tenant)
        make_job(tenant.id)
    for path in ("/test-clocks", "/jobs", "/audit-events?type=test_clock.created"):
        with django_assert_num_queries(2):  # who asks; the page
            assert len(api.get(path).json()["data"]) == rows


def test_unknown_ids_are_all_the_same() -> None:
    api = Api(make_key(make_tenant()))
    assert ACTOR  # the trail names whoever acted
    for path in ("/jobs/", "/audit-events/", "/test-clocks/"):
        for name in (encode("job", new_id()), "nonsense", "../x", "%00"):
            assert api.get(path + name).status_code in (400, 404)
