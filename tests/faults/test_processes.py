"""F1–F10: processes of the program that die."""

from collections.abc import Callable

import pytest
import requests

from tests.faults.cluster import Cluster, until
from tests.faults.company import Company

Found = Callable[..., Company]
pytestmark = pytest.mark.slow


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
def test_f2_worker_killed_before_the_provider_was_called(cluster: Cluster, found: Found) -> None:
    """The provider does not know the charge: it has failed, and is made anew, once."""
    cluster.arm("payments.call.before:1:kill")
    company = found()
    until(lambda: cluster.hits("payments.call.before"))
    assert company.count("payments_payment", "status = 'sent'") == 1

    assert company.bill() == company.paid_once()
    assert company.count("payments_payment", "status = 'failed'") == 1


@pytest.mark.whole
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
def test_f10_web_process_killed_in_the_middle_of_a_post(cluster: Cluster, found: Found) -> None:
    """The client repeats the request with its key; there is one effect."""
    company = found(owes=False)
    master = cluster.pid("web")
    before = set(cluster.children("web"))
    cluster.arm("core.idempotency.before_answer:1:kill")
    body = {"external_id": "new", "name": "New", "currency": "USD"}
    with pytest.raises(requests.ConnectionError):
        company.post("/customers", body, "once")
    assert company.count("customers_customer") == 2

    answer = company.insist("/customers", body, "once")
    assert answer.status_code == 201
    assert company.count("customers_customer") == 2
    assert company.insist("/customers", body, "once").json() == answer.json()
    until(lambda: len(cluster.children("web")) == len(before))
    assert cluster.pid("web") == master
