"""F1–F10: processes of the program that die, hang, or do their work too often."""

import ast
import os
import signal
from collections.abc import Callable

import pytest
import requests

from launcher.system import ROOT
from tests.faults.cluster import Cluster, until
from tests.faults.company import Company

Found = Callable[..., Company]
pytestmark = pytest.mark.slow


@pytest.mark.holds("F1")
def test_f1_worker_killed_after_the_provider_charged(cluster: Cluster, found: Found) -> None:
    """The payment is ``sent``; the provider is asked; one charge, one allocation, one entry."""
    cluster.arm("payments.call.after:1:kill")
    company = found()
    until(lambda: cluster.hits("payments.call.after"))
    assert company.count("payments_payment", "status = 'sent'") == 1
    assert company.count("payments_allocation") == 0

    assert company.bill() == company.paid_once()
    assert company.count("payments_payment") == 1


@pytest.mark.whole
@pytest.mark.holds("F2")
def test_f2_worker_killed_before_the_provider_was_called(cluster: Cluster, found: Found) -> None:
    """The provider does not know the charge: it has failed, and is made anew, once."""
    cluster.arm("payments.call.before:1:kill")
    company = found()
    until(lambda: cluster.hits("payments.call.before"))
    assert company.count("payments_payment", "status = 'sent'") == 1

    assert company.bill() == company.paid_once()
    assert company.count("payments_payment", "status = 'failed'") == 1


@pytest.mark.whole
@pytest.mark.holds("F3")
def test_f3_web_killed_between_commit_and_hint(cluster: Cluster, found: Found) -> None:
    """The job is in PostgreSQL, and the sweep runs it; the client's repeat makes nothing twice."""
    company = found(owes=False)
    cluster.arm("core.jobs.before_hint:1:kill")
    body = {"key": "late", "name": "Late", "aggregation": "count"}
    with pytest.raises(requests.ConnectionError):
        company.post("/meters", body, "once")
    assert company.count("metering_meter") == 2
    assert company.count("core_job", "name = 'metering.reattach_orphans'") == 2

    answer = company.insist("/meters", body, "once")
    assert (answer.status_code, company.count("metering_meter")) == (201, 2)
    until(lambda: not company.count("core_job", "state <> 'done'"))


@pytest.mark.whole
@pytest.mark.holds("F4")
def test_f4_pool_child_killed_in_the_middle_of_a_job(cluster: Cluster, found: Found) -> None:
    """The worker goes on with another child, and the job is run again when its lease lapses."""
    cluster.arm("core.jobs.after_work:1:wait")
    company = found()
    until(lambda: cluster.hits("core.jobs.after_work"))
    worker = cluster.pid("worker")
    for child in cluster.children("worker"):
        os.kill(child, signal.SIGKILL)
    cluster.disarm()

    assert company.bill() == company.paid_once()
    until(lambda: not company.count("core_job", "state <> 'done'"))
    assert cluster.pid("worker") == worker


@pytest.mark.whole
@pytest.mark.holds("F5")
def test_f5_whole_worker_killed_in_the_middle_of_a_run(cluster: Cluster, found: Found) -> None:
    """Nothing of the chunk is stored; the next worker bills it."""
    cluster.arm("invoicing.bill.after_store:1:wait")
    company = found(customers=3)
    until(lambda: cluster.hits("invoicing.bill.after_store"))
    cluster.kill("worker")
    assert company.count("invoicing_invoice") == 0
    cluster.disarm()
    cluster.start("worker")

    assert company.bill() == company.paid_once()


@pytest.mark.whole
@pytest.mark.holds("F6")
def test_f6_worker_told_to_end_in_the_middle_of_a_run(cluster: Cluster, found: Found) -> None:
    """It finishes or rolls back the chunk: all of its invoices are there, or none of them."""
    cluster.arm("invoicing.bill.after_marks:1:wait")
    company = found(customers=3)
    until(lambda: cluster.hits("invoicing.bill.after_marks"))
    os.kill(cluster.pid("worker"), signal.SIGTERM)
    cluster.disarm()
    assert cluster.stop("worker") == 0
    made = company.count("invoicing_invoice", "number IS NOT NULL")
    assert made in (0, 3)
    assert company.count("invoicing_invoice") == company.count("invoicing_invoiceline") == made
    cluster.start("worker")

    assert company.bill() == company.paid_once()


@pytest.mark.whole
@pytest.mark.holds("F6")
def test_f6_beat_told_to_end_in_the_middle_of_a_statement(cluster: Cluster) -> None:
    """It leaves the statement, and ends in good order."""
    sent = cluster.log("beat").count("Sending due task")
    # so that it has something to save
    until(lambda: cluster.log("beat").count("Sending due task") > sent)
    with cluster.connect() as other, other.transaction():
        other.execute("LOCK TABLE django_celery_beat_periodictasks IN ACCESS EXCLUSIVE MODE")
        until(cluster.waits_for_a_lock)
        os.kill(cluster.pid("beat"), signal.SIGTERM)
        assert cluster.stop("beat") == 0


@pytest.mark.whole
@pytest.mark.holds("F7")
def test_f7_a_task_delivered_again_while_it_still_runs(cluster: Cluster, found: Found) -> None:
    """One does the work; the others find nothing to do."""
    cluster.arm("invoicing.close.after_lock:1:wait")
    company = found(customers=5)
    until(lambda: cluster.hits("invoicing.close.after_lock"))
    cluster.send_task("invoicing.close_periods", times=3)
    until(lambda: cluster.hits("invoicing.close.after_lock") > 1)
    assert company.count("invoicing_invoice") == 0
    cluster.disarm()

    assert company.bill() == company.paid_once()


@pytest.mark.holds("F8")
def test_f8_no_task_is_sent_for_later() -> None:
    """The broker would deliver it several times at once; what is for later is a row in time."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("apps", "billing_project")
        for path in ROOT.glob(f"{folder}/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg in ("eta", "countdown")
    ]
    assert found == []


@pytest.mark.whole
@pytest.mark.holds("F9")
def test_f9_every_job_and_task_again_three_days_later(cluster: Cluster, found: Found) -> None:
    """What has been done is found done: nothing is billed, charged or posted again."""
    company = found(customers=2)
    assert company.bill() == company.paid_once()
    until(lambda: not company.count("core_job", "state <> 'done'"))
    cluster.sql(
        "UPDATE core_job SET state = 'pending', ended_at = NULL, due_at = '2000-01-01'"
        " WHERE tenant_id = %s",
        company.id,
    )
    for task in ("invoicing.close_periods", "payments.retry_collections"):
        cluster.send_task(task)
    until(lambda: not company.count("core_job", "state <> 'done'"))
    assert company.count("core_job", "attempts > 1") > 0
    assert company.account() == company.paid_once()
    assert company.count("payments_payment") == 2


@pytest.mark.whole
@pytest.mark.holds("F10")
def test_f10_web_process_killed_in_the_middle_of_a_post(cluster: Cluster, found: Found) -> None:
    """The client repeats the request with its key; there is one effect."""
    company = found(owes=False)
    master = cluster.pid("web")
    before = len(cluster.children("web"))
    cluster.arm("core.idempotency.before_answer:1:kill")
    body = {"external_id": "new", "name": "New", "currency": "USD"}
    with pytest.raises(requests.ConnectionError):
        company.post("/customers", body, "once")
    assert company.count("customers_customer") == 2

    answer = company.insist("/customers", body, "once")
    assert answer.status_code == 201
    assert company.count("customers_customer") == 2
    assert company.insist("/customers", body, "once").json() == answer.json()
    until(lambda: len(cluster.children("web")) == before)
    assert cluster.pid("web") == master
