"""F71–F77: parts that fail, and people who do things twice."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest
from django.db import connection, transaction

from apps.core import jobs
from apps.core.clock import now
from apps.core.jobs import NewJob, backoff, enqueue_all, run_due
from apps.core.models import Job
from apps.invoicing.documents.pdf import PdfUnavailable
from apps.invoicing.models import IssuedPdf
from launcher.system import ROOT
from tests.faults.cluster import Cluster, until
from tests.faults.company import Company
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_draft
from tests.make.tenants import make_key, make_tenant

Found = Callable[..., Company]


@pytest.mark.holds("F71")
@pytest.mark.django_db
def test_f71_no_pdf_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The invoice is issued as ever; whoever wants its PDF is told to come back, and gets it."""
    tenant = make_tenant()
    draft = make_draft(make_customer(tenant))
    api = Api(make_key(tenant))

    def fail(_document: object) -> bytes:
        raise PdfUnavailable("There is no Pango.")

    with monkeypatch.context() as broken:
        broken.setattr("apps.invoicing.operations.rendering.pdf_of", fail)
        assert api.post(f"/invoices/{draft.public_id}/issue").status_code == 200
        assert api.get(f"/invoices/{draft.public_id}/pdf").status_code == 503
    assert fresh(draft).status == "issued"
    monkeypatch.setattr("apps.invoicing.operations.rendering.pdf_of", lambda _: b"%PDF-")
    answer = api.get(f"/invoices/{draft.public_id}/pdf")
    assert (answer.status_code, answer.content) == (200, b"%PDF-")
    assert IssuedPdf.objects.count() == 1


@pytest.mark.holds("F72")
@pytest.mark.django_db
def test_f72_two_operators_issue_the_same_drafts() -> None:
    """Each draft is issued once and gets one number, whoever asks and however often."""
    tenant = make_tenant()
    drafts = [make_draft(make_customer(tenant)) for _ in range(3)]
    first, second = Api(make_key(tenant)), Api(make_key(tenant))
    numbers = []
    for api in (first, second, first):
        answers = [api.post(f"/invoices/{draft.public_id}/issue") for draft in drafts]
        assert [answer.status_code for answer in answers] == [200] * 3
        numbers.append([answer.json()["number"] for answer in answers])
    assert numbers[0] == numbers[1] == numbers[2]
    assert len(set(numbers[0])) == 3


@pytest.mark.holds("F75")
@pytest.mark.django_db(transaction=True)
def test_f75_a_great_many_jobs_are_due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker takes so many, the oldest first, and no longer than it may; then it asks for help."""
    ran: list[str] = []

    def work(subject: str) -> None:
        ran.append(subject)

    monkeypatch.setitem(jobs._WORK, "probe", work)  # noqa: SLF001 -- given back
    hints: list[int] = []
    tenant = make_tenant()
    enqueue_all(
        NewJob(
            "probe", tenant.id, {"subject": str(n)}, due_at=now() - timedelta(hours=1, seconds=-n)
        )
        for n in range(500)
    )
    monkeypatch.setattr(jobs, "hint", lambda: hints.append(len(ran)))
    assert run_due(limit=100) == 100
    assert ran == [str(number) for number in range(100)]
    assert run_due(within=timedelta(0)) <= 1
    assert len(hints) == 1
    assert Job.objects.filter(state=Job.State.DONE).count() == len(ran) < 102


@pytest.mark.holds("F75")
def test_f75_what_failed_together_is_not_tried_together() -> None:
    """The next tries are spread over half of the pause, which grows and has an end."""
    for attempt in range(1, 9):
        pauses = {backoff(attempt) for _ in range(100)}
        longest = min(timedelta(seconds=5) * 4 ** (attempt - 1), timedelta(hours=6))
        assert len(pauses) > 90
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest


_TIMEOUTS: Final = """
import json, sys
__import__(sys.argv[1])
from django.conf import settings
options = settings.DATABASES["default"]["OPTIONS"]["options"]
broker = settings.CELERY_BROKER_TRANSPORT_OPTIONS
print(json.dumps([*options.split(), settings.CELERY_TASK_SOFT_TIME_LIMIT,
                  settings.CELERY_TASK_TIME_LIMIT, broker["visibility_timeout"]]))
"""


def timeouts(module: str) -> tuple[int, int, list[int]]:
    """Return for how many seconds a program waits for locks and statements, and its tasks' limits."""
    environ = {name: value for name, value in os.environ.items() if name != "STATEMENT_TIMEOUT"}
    command = [sys.executable, "-c", _TIMEOUTS, module]
    out = subprocess.run(command, env=environ, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    *options, soft, hard, redelivered = json.loads(out)
    waits = dict(one.split("=") for one in options if "=" in one)
    lock, statement = (int(waits[f"{one}_timeout"].rstrip("s")) for one in ("lock", "statement"))
    return lock, statement, [soft, hard, redelivered]


@pytest.mark.holds("F20")
def test_f20_whoever_waits_longest_gives_up_last() -> None:
    """A lock before its statement, a statement before its client or task, a task before its copy."""
    lock, statement, _ = timeouts("billing_project.wsgi")
    assert 0 < lock < statement < 30  # what clients and proxies wait, and no less
    lock, statement, limits = timeouts("billing_project.celery")
    assert (statement, [lock, *limits]) == (0, sorted({lock, *limits}))  # the task's limit ends it


@pytest.mark.holds("F20")
@pytest.mark.django_db
def test_f20_a_statement_that_takes_too_long_is_to_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Api(make_key(make_tenant()))
    assert api.get("/customers").status_code == 200

    def slowly(_tenant_id: object) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1")
            cursor.execute("SELECT pg_sleep(60)")

    with monkeypatch.context() as slow:
        slow.setattr("apps.customers.api.views.customers_for", slowly)
        answer = api.get("/customers")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["reason"] == "unavailable"
    assert api.get("/customers").status_code == 200


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.holds("F76")
def test_f76_a_worker_whose_database_is_not_migrated(cluster: Cluster, found: Found) -> None:
    """It does not begin to work; the web server says that it is not ready."""
    cluster.stop("worker")
    company = found()
    last = "SELECT app, name FROM django_migrations WHERE app = 'payments' ORDER BY id DESC LIMIT 1"
    ((app, name),) = cluster.sql(last)
    cluster.sql("DELETE FROM django_migrations WHERE (app, name) = (%s, %s)", app, name)
    try:
        cluster.start_another("worker", "old worker")
        until(lambda: not cluster.runs("old worker"), what="the worker gives up")
        assert "lacks migrations" in cluster.log("old worker")
        assert cluster.health().json()["dependencies"]["migrations"] == "pending"
        assert company.count("invoicing_invoice") == 0
    finally:
        cluster.sql(
            "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, clock_timestamp())",
            app,
            name,
        )
    cluster.start("worker")
    assert company.bill() == company.paid_once()


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.holds("F77")
def test_f77_nothing_can_be_written_to_the_audit_trail(cluster: Cluster, found: Found) -> None:
    """Then nothing is done either."""
    company = found(owes=False)
    cluster.sql("REVOKE INSERT ON core_auditevent FROM billing")
    body = {"external_id": "new", "name": "New", "currency": "USD"}
    try:
        answer = company.post("/customers", body, "once")
        assert answer.status_code == 500
        assert company.count("customers_customer") == 1
    finally:
        cluster.sql("GRANT INSERT ON core_auditevent TO billing")
    assert company.insist("/customers", body, "once").status_code == 201
    assert company.count("customers_customer") == 2
