"""F25–F34: the broker, beat and caches lose things, double them or go away."""

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

import pytest

from apps.core.clock import now
from apps.core.ids import new_id
from tests.faults.cluster import Cluster, until
from tests.faults.company import Company
from tests.faults.proxy import Proxy

Found = Callable[..., Company]
pytestmark = [pytest.mark.slow, pytest.mark.whole]
METER = {"key": "another", "name": "Another", "aggregation": "count"}


def has_worked_since(cluster: Cluster, at: datetime) -> bool:
    beaten = cluster.beats()
    return beaten is not None and beaten > at


def server_time(cluster: Cluster) -> datetime:
    found: datetime = cluster.one("SELECT clock_timestamp()")
    return found


@pytest.mark.holds("F25")
def test_f25_everything_in_the_broker_is_lost(cluster: Cluster, found: Found) -> None:
    """The sweeps find the work in PostgreSQL."""
    cluster.stop("worker")
    company = found(customers=2)
    until(lambda: cluster.valkey().llen("celery") > 0)
    cluster.valkey().flushall()
    cluster.start("worker")
    assert company.bill() == company.paid_once()


@pytest.mark.holds("F26")
def test_f26_the_broker_is_killed_and_comes_back(cluster: Cluster, found: Found) -> None:
    """Worker and beat go on by themselves: the heartbeat is there again."""
    company = found()
    cluster.kill("valkey")
    cluster.start("valkey")
    came_back = server_time(cluster)
    until(lambda: has_worked_since(cluster, came_back), what="the worker works again")
    assert company.bill() == company.paid_once()


@pytest.mark.holds("F27")
def test_f27_the_broker_is_away_when_a_job_is_written(cluster: Cluster, found: Found) -> None:
    """The request is answered as ever; the job waits in PostgreSQL until the broker is back."""
    company = found(owes=False)
    cluster.kill("valkey")
    answer = company.post("/meters", METER, "once")
    assert answer.status_code == 201
    assert cluster.health().json()["status"] == "degraded"
    cluster.start("valkey")
    until(lambda: not company.count("core_job", "state <> 'done'"))
    until(lambda: cluster.health().json()["status"] == "healthy")


@pytest.mark.holds("F28")
def test_f28_the_broker_has_no_memory_left(cluster: Cluster, found: Found) -> None:
    """As F27: what cannot be hinted at is done by the next sweep that can."""
    company = found(owes=False)
    cluster.valkey().config_set("maxmemory", "1")
    try:
        assert company.post("/meters", METER, "once").status_code == 201
    finally:
        cluster.valkey().config_set("maxmemory", "0")
    until(lambda: not company.count("core_job", "state <> 'done'"))


@pytest.mark.holds("F29")
def test_f29_the_line_to_the_broker_goes_silent(cluster: Cluster, found: Found) -> None:
    """The worker notices that nothing comes any more, and connects anew."""
    own = cluster.sockets / "proxy.sock"
    proxy = Proxy(own, cluster.sockets / "valkey.sock")
    cluster.stop("worker")
    cluster.start("worker", environ={"REDIS_URL": f"redis+socket://{own}"})
    try:
        came_up = server_time(cluster)
        until(lambda: has_worked_since(cluster, came_up))
        assert proxy.freeze() > 0
        company = found()
        assert company.bill() == company.paid_once()
    finally:
        cluster.kill("worker")
        proxy.close()


@pytest.mark.holds("F30")
def test_f30_two_beats_at_once(cluster: Cluster, found: Found) -> None:
    """Every tick comes twice, and everything is done once."""
    cluster.start_another("beat", "second beat")
    until(lambda: "Sending due task" in cluster.log("second beat"))
    company = found(customers=3)
    assert company.bill() == company.paid_once()
    cluster.kill("second beat")


@pytest.mark.holds("F31")
def test_f31_beat_stood_still_for_a_hundred_days(cluster: Cluster, found: Found) -> None:
    """Each missed period is billed once, in order."""
    cluster.stop("beat")
    company = found(customers=2, days=100)
    cluster.start("beat")
    cluster.hurry()
    assert company.bill(months=3) == company.paid_once(months=3)
    for customer in company.customers:
        periods = cluster.sql(
            "SELECT period_start, period_end FROM invoicing_invoice i"
            " JOIN customers_customer c ON c.id = i.customer_id"
            " WHERE c.tenant_id = %s AND c.external_id = %s ORDER BY number::int",
            company.id,
            customer,
        )
        assert all(earlier[1] == later[0] for earlier, later in pairwise(periods))


@pytest.mark.holds("F32")
def test_f32_ticks_come_faster_than_the_work_is_done(cluster: Cluster, found: Found) -> None:
    """They find nothing to do and the queue empties; nothing is done twice."""
    cluster.arm("invoicing.close.after_lock:1:wait")
    company = found(customers=3)
    until(lambda: cluster.hits("invoicing.close.after_lock"))
    for task in ("invoicing.close_periods", "core.run_due_jobs", "payments.retry_collections"):
        cluster.send_task(task, times=40)
    cluster.disarm()
    assert company.bill() == company.paid_once()
    until(lambda: cluster.valkey().llen("celery") < 40)
    assert company.account() == company.paid_once()


@pytest.mark.holds("F33")
def test_f33_messages_and_jobs_of_another_version(cluster: Cluster, found: Found) -> None:
    """What nobody knows is put aside with the reason, and stops nothing else."""
    cluster.send_task("nobody.knows_this")
    company = found()
    job = new_id()
    cluster.sql(
        "INSERT INTO core_job (id, tenant_id, name, arguments, state, due_at, attempts, reason,"
        " created_at) VALUES (%s, %s, 'nobody.knows', '{}', 'pending', '2000-01-01', 7, '',"
        " clock_timestamp())",
        job,
        company.id,
    )
    assert company.bill() == company.paid_once()
    until(lambda: cluster.one("SELECT state FROM core_job WHERE id = %s", job) == "dead")
    assert cluster.one("SELECT reason FROM core_job WHERE id = %s", job) == (
        "this version of the program knows no job 'nobody.knows'"
    )
    assert "nobody.knows_this" in cluster.log("worker")


@pytest.mark.holds("F34")
def test_f34_what_processes_remember_is_out_of_date(cluster: Cluster, found: Found) -> None:
    """A key that was revoked, and a meter that was made, count with the next request everywhere."""
    company = found(owes=False)
    other = Company.__new__(Company)
    other.cluster, other.id = cluster, company.id
    scopes = {"name": "sender", "scopes": ["events:write"]}
    made = company.post("/api-keys", scopes, "sender").json()
    other.key = made["secret"]

    def send(number: int, name: str = "calls") -> tuple[int, str | None]:
        event = {
            "idempotency_key": f"{name}-{number}",
            "event_name": name,
            "customer": "c-0",
            "timestamp": now().isoformat(),
            "value": 1,
        }
        answer = other.post("/events", event)
        return answer.status_code, answer.json().get("orphan")

    for number in range(10):  # so that every process has remembered
        assert send(number)[0] == 202
        assert send(number, "later")[1] == "unknown_meter"
    company.post("/meters", {**METER, "key": "later"}, "later")
    assert [send(number, "later")[1] for number in range(10, 20)] == [None] * 10
    company.post(f"/api-keys/{made['id']}/revoke", None, "revoke")
    assert [send(number)[0] for number in range(20, 30)] == [401] * 10
