"""The queue of record: due, claimed once, tried again, dead with a reason, revived."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any, Final
from uuid import UUID

import pytest
import redis
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction
from kombu.exceptions import OperationalError

from apps.core import jobs
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.jobs import NewJob, enqueue_all, job, registered, revive, run_due, stalled
from apps.core.models import Heartbeat, Job
from apps.core.tasks import beat, run_due_jobs
from apps.core.tenancy import enter_tenant, tenant_scope

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE: Final = "celery"
ran: list[str] = []
behaviour: dict[str, Callable[[], object]] = {}


@job("tests.note")
def note(*, subject: str) -> None:
    """Note that it ran, after doing what the test wants."""
    behaviour.get(subject, lambda: None)()
    ran.append(subject)


TENANT: Final = new_id()
BROKER_AWAY: Final = "apps.core.jobs._broker.away_until"


@pytest.fixture(autouse=True)
def _nothing_ran(_nobodys_scope: None, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_tenant(TENANT)
    ran.clear()
    behaviour.clear()
    monkeypatch.setattr(BROKER_AWAY, 0.0)


def enqueue(
    subject: str,
    *,
    name: str = "tests.note",
    tenant_id: UUID | None = None,
    due_at: datetime | None = None,
    after: UUID | None = None,
) -> UUID:
    new = NewJob(name, tenant_id or TENANT, {"subject": subject}, due_at=due_at, after=after)
    with tenant_scope(new.tenant_id), transaction.atomic():
        enqueue_all([new])
    return new.id


def state(job_id: UUID) -> tuple[str, int, str]:
    found = Job.objects.get(id=job_id)
    return found.state, found.attempts, found.reason


def refuse() -> None:
    raise ValueError("not today")


def make_due(job_id: UUID) -> None:
    Job.objects.filter(id=job_id).update(due_at=now() - timedelta(seconds=1))


def test_a_job_runs_with_its_arguments_when_it_is_due() -> None:
    first = enqueue("first")
    later = enqueue("later", due_at=now() + timedelta(hours=1))
    assert run_due() == 1
    assert ran == ["first"]
    done = Job.objects.get(id=first)
    assert (done.state, done.attempts, done.lease_until, done.reason) == ("done", 1, None, "")
    assert done.ended_at is not None
    assert state(later) == ("pending", 0, "")
    make_due(later)
    assert [run_due(), run_due()] == [1, 0]
    assert ran == ["first", "later"]


@pytest.mark.holds("J3")
def test_without_the_commit_there_is_no_job_and_no_hint(redis_client: redis.Redis) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        enqueue_all([NewJob("tests.note", TENANT, {"subject": "x"})])
        raise ZeroDivisionError
    assert Job.objects.count() == 0
    assert redis_client.llen(QUEUE) == 0


def test_one_transaction_gives_one_hint_after_its_commit(redis_client: redis.Redis) -> None:
    with transaction.atomic():
        for number in range(3):
            enqueue_all([NewJob("tests.note", TENANT, {"subject": str(number)})])
        with suppress(ZeroDivisionError), transaction.atomic():
            enqueue_all([NewJob("tests.note", TENANT, {"subject": "undone"})])
            raise ZeroDivisionError
        assert redis_client.llen(QUEUE) == 0
    assert redis_client.llen(QUEUE) == 1
    assert run_due() == 3


def test_a_hint_that_only_a_rolled_back_savepoint_asked_for_is_not_sent(
    redis_client: redis.Redis,
) -> None:
    with transaction.atomic(), suppress(ZeroDivisionError), transaction.atomic():
        enqueue_all([NewJob("tests.note", TENANT, {"subject": "undone"})])
        raise ZeroDivisionError
    assert redis_client.llen(QUEUE) == 0


@pytest.mark.holds("J6", "F25", "F27")
def test_a_lost_redis_loses_no_job(redis_client: redis.Redis) -> None:
    enqueue("kept")
    assert redis_client.llen(QUEUE) == 1
    redis_client.flushall()
    assert run_due_jobs() == 1  # what beat calls every minute
    assert ran == ["kept"]


@pytest.mark.holds("F27", "F28")
def test_a_broker_that_is_away_fails_no_write_and_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def away() -> None:
        asked.append(1)
        raise OperationalError("connection refused")

    monkeypatch.setattr(current_app.tasks["core.run_due_jobs"], "delay", away)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            enqueue(str(number))
    assert len(asked) == 1
    assert "the sweep will find the jobs" in caplog.text
    monkeypatch.setattr(BROKER_AWAY, 0.0)
    enqueue("6")
    assert len(asked) == 2
    assert run_due() == 6


@pytest.mark.holds("J4", "F32")
def test_two_workers_never_get_the_same_job() -> None:
    for number in range(40):
        enqueue(str(number))
    barrier, counts = Barrier(4), []

    def work() -> None:
        barrier.wait()
        counts.append(run_due())
        connection.close()

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 40
    assert sorted(ran, key=int) == [str(number) for number in range(40)]
    assert set(Job.objects.values_list("state", "attempts")) == {("done", 1)}


def test_a_job_that_is_being_worked_on_is_not_offered_to_others() -> None:
    barrier = Barrier(2)
    first = enqueue("slow")
    second = enqueue("quick")

    def wait_for_the_other() -> None:
        barrier.wait(timeout=20)  # begun
        barrier.wait(timeout=20)  # the other worker has found what there is

    behaviour["slow"] = wait_for_the_other

    def work() -> None:
        run_due(limit=1)
        connection.close()

    thread = Thread(target=work)
    thread.start()
    barrier.wait(timeout=20)
    assert state(first)[:2] == ("running", 1)
    assert run_due() == 1
    assert state(second)[0] == "done"
    barrier.wait(timeout=20)
    thread.join()
    assert ran == ["quick", "slow"]
    assert state(first) == ("done", 1, "")


def test_a_claim_ends_with_its_lease_and_what_a_late_worker_says_counts_no_more() -> None:
    job_id = enqueue("slow")

    def overtake() -> None:
        run_due()
        connection.close()

    def be_overtaken() -> None:
        behaviour.clear()
        Job.objects.filter(id=job_id).update(lease_until=now() - timedelta(seconds=1))
        other = Thread(target=overtake)
        other.start()
        other.join()
        assert state(job_id) == ("done", 2, "")
        refuse()

    behaviour["slow"] = be_overtaken
    assert run_due() == 1
    assert state(job_id) == ("done", 2, "")


def test_a_job_whose_workers_all_die_ends_itself() -> None:
    job_id = enqueue("poison")
    lapsed = now() - timedelta(seconds=1)
    Job.objects.filter(id=job_id).update(
        state="running", attempts=jobs.MAX_ATTEMPTS, lease_until=lapsed
    )
    assert run_due() == 1
    assert ran == []
    assert state(job_id) == (
        "dead",
        jobs.MAX_ATTEMPTS + 1,
        f"its worker died with it {jobs.MAX_ATTEMPTS} times",
    )


@pytest.mark.holds("J7")
def test_a_failure_is_tried_again_later_and_at_last_dead_with_its_reason() -> None:
    job_id = enqueue("hopeless")
    behaviour["hopeless"] = refuse
    for attempt in range(1, jobs.MAX_ATTEMPTS):
        before = now()
        assert run_due() == 1
        assert state(job_id) == ("pending", attempt, "ValueError: not today")
        found = Job.objects.get(id=job_id)
        ceiling = timedelta(seconds=5) * 4 ** (attempt - 1)
        assert before + ceiling / 2 <= found.due_at <= now() + ceiling
        assert run_due() == 0
        make_due(job_id)
    assert run_due() == 1
    assert state(job_id) == ("dead", jobs.MAX_ATTEMPTS, "ValueError: not today")
    make_due(job_id)
    assert run_due() == 0


def test_a_failure_does_not_keep_what_the_job_did_in_its_transaction() -> None:
    job_id = enqueue("half")

    def half() -> None:
        with transaction.atomic():
            Heartbeat.objects.create(name="half", beaten_at=now())
            refuse()

    behaviour["half"] = half
    run_due()
    assert state(job_id)[0] == "pending"
    assert Heartbeat.objects.count() == 0


def test_a_lost_connection_fails_one_job_and_not_the_next() -> None:
    broken = enqueue("breaks")
    fine = enqueue("fine")

    def lose_the_connection() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    behaviour["breaks"] = lose_the_connection
    assert run_due() == 2
    assert (state(broken)[:2], state(fine)) == (("pending", 1), ("done", 1, ""))


@pytest.mark.holds("F33")
def test_a_job_nobody_knows_waits_for_a_version_that_does() -> None:
    job_id = enqueue("x", name="tests.of_tomorrow")
    assert run_due() == 1
    kept = state(job_id)
    assert kept == ("pending", 1, "this version of the program knows no job 'tests.of_tomorrow'")


def test_the_next_job_of_a_chain_waits_for_the_one_before() -> None:
    first = enqueue("first")
    second = enqueue("second", after=first)
    third = enqueue("third", after=second)
    behaviour["first"] = refuse
    assert run_due() == 1
    assert [state(one)[0] for one in (first, second, third)] == ["pending"] * 3
    behaviour.clear()
    make_due(first)
    assert run_due() == 3
    assert ran == ["first", "second", "third"]


def test_a_chain_dies_with_its_first_job_and_comes_back_with_it() -> None:
    first = enqueue("first")
    second = enqueue("second", after=first)
    third = enqueue("third", after=second)
    Job.objects.filter(id=first).update(attempts=jobs.MAX_ATTEMPTS - 1)
    behaviour["first"] = refuse
    assert run_due() == 3
    assert ran == []
    names = {one: Job.objects.get(id=one).public_id for one in (first, second)}
    assert [state(one)[::2] for one in (first, second, third)] == [
        ("dead", "ValueError: not today"),
        ("dead", f"the job before it, {names[first]}, is dead"),
        ("dead", f"the job before it, {names[second]}, is dead"),
    ]
    behaviour.clear()
    assert revive(first)
    assert {state(one)[:2] for one in (first, second, third)} == {("pending", 0)}
    assert run_due() == 3
    assert ran == ["first", "second", "third"]
    assert not revive(first)


def test_reviving_gives_all_attempts_back_and_a_hint(redis_client: redis.Redis) -> None:
    job_id = enqueue("x")
    ended = now()
    Job.objects.filter(id=job_id).update(
        state="dead", attempts=8, ended_at=ended, due_at=ended + timedelta(days=1)
    )
    redis_client.flushdb()
    assert revive(job_id)
    assert not revive(job_id)
    assert not revive(new_id())
    assert redis_client.llen(QUEUE) == 1
    found = Job.objects.get(id=job_id)
    assert (found.state, found.attempts, found.ended_at) == ("pending", 0, None)
    assert run_due() == 1


def test_only_one_tenants_jobs_if_asked() -> None:
    mine, theirs = new_id(), new_id()
    enqueue("mine", tenant_id=mine)
    enqueue("theirs", tenant_id=theirs)
    enqueue("nobody's")
    assert run_due(tenant_id=mine) == 1
    assert ran == ["mine"]
    assert run_due() == 2


def test_nothing_else_ends_a_run() -> None:
    many = 1001  # time goes on after a run, on test clocks
    with transaction.atomic():
        enqueue_all(NewJob("tests.note", TENANT, {"subject": str(n)}) for n in range(many))
    assert run_due() == many
    assert len(ran) == many


def test_a_limit_and_a_time_end_a_run(redis_client: redis.Redis) -> None:
    for number in range(4):
        enqueue(str(number))
    assert run_due(limit=2) == 2
    redis_client.flushdb()
    assert run_due(within=timedelta(0)) == 0
    assert redis_client.llen(QUEUE) == 1  # another worker is told that there is more
    assert run_due(within=timedelta(minutes=1)) == 2


def test_a_run_that_is_about_to_be_stopped_takes_no_further_job() -> None:
    stopped = enqueue("stopped")
    waiting = enqueue("waiting")

    def out_of_time() -> None:
        raise SoftTimeLimitExceeded

    behaviour["stopped"] = out_of_time
    with pytest.raises(SoftTimeLimitExceeded):
        run_due()
    assert [state(one)[:2] for one in (stopped, waiting)] == [("pending", 1), ("pending", 0)]


def test_what_is_stalled() -> None:
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    long_ago, just_now = at - timedelta(minutes=16), at - timedelta(minutes=14)
    done = {"state": "done", "ended_at": long_ago}
    before = enqueue("before")
    open_before = enqueue("open before")
    kinds: dict[str, dict[str, Any]] = {
        "due long ago": {"due_at": long_ago},
        "due just now": {"due_at": just_now},
        "failed, due long ago": {"due_at": long_ago, "attempts": 3},
        "running": {"state": "running", "due_at": long_ago, "lease_until": just_now},
        "worker died long ago": {"state": "running", "due_at": long_ago, "lease_until": long_ago},
        "done": {**done, "due_at": long_ago},
        "dead": {**done, "state": "dead", "due_at": long_ago},
        "after one that is done": {"due_at": long_ago, "after": before},
        "after one that is open": {"due_at": long_ago, "after": open_before},
    }
    made = {kind: enqueue(kind) for kind in kinds}
    for kind, changes in kinds.items():
        Job.objects.filter(id=made[kind]).update(**changes)
    Job.objects.filter(id=before).update(**done)
    Job.objects.filter(id=open_before).update(due_at=at)
    names = {job_id: kind for kind, job_id in made.items()}
    assert {names[one] for one in stalled(at)} == {
        "due long ago",
        "failed, due long ago",
        "worker died long ago",
        "after one that is done",
    }


def test_a_name_is_taken_once() -> None:
    assert "tests.note" in registered()
    with pytest.raises(RuntimeError, match=r"tests\.note"):
        job("tests.note")(note)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "strange"},
        {"state": "running", "lease_until": None},
        {"state": "pending", "lease_until": datetime(2026, 5, 1, tzinfo=UTC)},
        {"state": "done", "ended_at": None},
    ],
)
def test_the_database_refuses_states_that_cannot_be(changes: dict[str, Any]) -> None:
    job_id = enqueue("x")
    with pytest.raises(Exception, match="violates check constraint"):
        Job.objects.filter(id=job_id).update(**changes)


def test_a_beat_shows_that_all_parts_work() -> None:
    before = now()
    beat()
    beat()
    assert Heartbeat.objects.get().beaten_at >= before
