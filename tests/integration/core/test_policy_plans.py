"""Under row security what is asked for often is found by its index, however much there is.

A condition may be looked up in an index below a policy only if its operator tells nothing of the
rows that it refuses: else every row of the tenant is read first. So the rows that a question
reads are counted, in tables where two tenants have thousands.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from apps.core.jobs import NewJob, enqueue_all, run_due
from apps.core.tenancy import tenant_scope, tenants_by
from apps.customers.models import Customer
from apps.invoicing.queries import drafts_due, to_become_overdue
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.invoicing import make_draft, make_issued
from tests.make.many import multiply, reading
from tests.make.metering import make_meter, send
from tests.make.tenants import AT, make_key, make_tenant

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.holds("S3")]

_MANY: Final = 3000  # rows of each tenant
_PAGE: Final = 20
_FEW: Final = 12  # what is asked for, and some beside it
_EVENT: Final = {"meter": "calls", "customer": "crm-1", "timestamp": AT.isoformat(), "value": "1"}
_COPIES: Final[Mapping[str, dict[str, str]]] = {
    "customers_customer": {"external_id": "'copy-' || n"},
    "invoicing_invoice": {
        "status": "'paid'",
        "number": "1000 + n",
        "amount_paid": "total",
        "closed_at": "issued_at",
    },
    "metering_usageevent": {},
    "core_job": {"state": "'done'", "ended_at": "created_at"},
}


def make_full() -> tuple[Tenant, str]:
    """Return a tenant with thousands of rows, and a key to it."""
    tenant = make_tenant()
    with tenant_scope(tenant.id):
        make_meter(tenant, key="calls")
        customer = make_customer(tenant, external_id="crm-1")
        make_issued(customer)
        send(tenant, [{**_EVENT, "idempotency_key": "first"}], at=AT)
        enqueue_all([NewJob("core.probe", tenant.id, {})])
        for table, changed in _COPIES.items():
            multiply(table, tenant.id, _MANY, changed)
        make_draft(customer, issue_after=AT)
    return tenant, make_key(tenant)


def page(_: Tenant, api: Api, path: str) -> None:
    assert len(api.get(path).json()["data"]) == _PAGE


def found(_: Tenant, api: Api, path: str) -> None:
    assert api.get(path).status_code == 200


def ingested(tenant: Tenant, _: Api, *__: str) -> None:
    items = [{**_EVENT, "idempotency_key": key} for key in ("first", "new")]
    assert [one.status for one in send(tenant, items, at=AT)] == ["duplicate", "accepted"]


def due(tenant: Tenant, _: Api, *__: str) -> None:
    late = AT + timedelta(days=999)
    assert len(drafts_due(late, tenant_id=tenant.id)) == 1
    assert len(to_become_overdue(late, tenant_id=tenant.id)) == 1
    assert tenant.id in tenants_by("invoicing_tenants_with_drafts", late)
    assert tenant.id in tenants_by("invoicing_tenants_with_overdue", late)


def worked(*_: Any) -> None:
    assert run_due(limit=1) == 1


@pytest.mark.parametrize(
    ("table", "ask", "path", "most"),
    [
        ("customers_customer", page, "/customers", _PAGE + _FEW),
        ("customers_customer", found, "/customers/crm-1", _FEW),
        ("customers_customer", found, "/customers?external_id=crm-1", _FEW),
        ("invoicing_invoice", page, "/invoices", _PAGE + _FEW),
        ("invoicing_invoice", found, "/invoices/INV-001007", _FEW),
        ("invoicing_invoice", due, "", _FEW),
        ("metering_usageevent", ingested, "", _FEW),
        ("customers_customer", ingested, "", _FEW),
        ("core_job", page, "/jobs", _PAGE + _FEW),
        ("core_job", worked, "", _FEW),
    ],
)
def test_what_is_asked_for_is_found_by_an_index(
    table: str, ask: Callable[..., None], path: str, most: int
) -> None:
    tenant, key = make_full()
    make_full()
    with tenant_scope(tenant.id), reading(table) as read:
        ask(tenant, Api(key), path)
    assert read[0] <= most


def test_a_table_that_is_read_whole_shows() -> None:
    tenant, _ = make_full()
    with tenant_scope(tenant.id), reading("customers_customer") as read:
        assert not Customer.objects.filter(name__endswith="?").exists()
    assert read[0] > _MANY
