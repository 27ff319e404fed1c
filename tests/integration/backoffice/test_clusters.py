"""A cluster that counts its transactions anew is refused until it is adopted, and then goes on."""

import re
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Final

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, ProgrammingError, connection, connections
from django.test import Client

from apps.backoffice.management.commands.doctor import check_cluster
from apps.backoffice.operations.clusters import adopt_cluster
from apps.backoffice.queries.installation import passed_over
from apps.invoicing.explaining import usage_behind, verify
from apps.invoicing.models import InvoiceLine, ParkedCustomer
from apps.invoicing.operations.billing import close_due
from apps.metering.domain import UsageRequest, UsageSpan
from apps.metering.models import Meter
from apps.metering.operations import roll_up
from apps.metering.queries import latest_version, measure
from apps.tenants.models import Tenant
from apps.wallets.domain import Settlement
from apps.wallets.models import Wallet
from apps.wallets.operations.burning import burn_usage
from billing_project.celery import refuse_to_work_on_wrong_tables
from tests.make.api import Api
from tests.make.backoffice import all_breaches
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_amendment, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_key, make_tenant
from tests.make.wallets import burn_all, fresh_wallet, make_grant, make_price, make_wallet
from tests.servers import as_superuser

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "owner"]),
    pytest.mark.holds("U10"),
]

MONTH: Final = AT + timedelta(days=31)
CALLS: Final = {
    "key": "calls",
    "name": "Calls",
    "meter": "calls",
    "pricing": {"model": "per_unit", "unit_price": "0.10"},
}
AHEAD: Final = 10**12
_SHIFT: Final = f"""
UPDATE metering_rollupfrontier SET below_xid = below_xid + {AHEAD};
UPDATE wallets_burnfrontier SET below_xid = below_xid + {AHEAD};
UPDATE metering_rollupposition SET born_xid = born_xid + {AHEAD};
UPDATE metering_usageevent SET ingest_xid = (ingest_xid::text::bigint + {AHEAD})::text::xid8;
UPDATE metering_eventeffect SET xid = (xid::text::bigint + {AHEAD})::text::xid8,
                                event_xid = (event_xid::text::bigint + {AHEAD})::text::xid8;
"""  # noqa: S608 -- constants
_SNAPSHOTS: Final = {
    "wallets_burnedahead": "snapshot",
    "invoicing_invoice": "usage_snapshot",
}


def come_from_an_older_cluster() -> None:
    """Let all that is remembered be what a cluster remembers that has counted much further."""
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(_SHIFT)
        for table, column in _SNAPSHOTS.items():
            cursor.execute(f"SELECT id, {column} FROM {table} WHERE {column} <> ''")  # noqa: S608
            for key, snapshot in cursor.fetchall():
                later = re.sub(r"\d+", lambda found: str(int(found[0]) + AHEAD), snapshot)
                update = f"UPDATE {table} SET {column} = %s WHERE id = %s"  # noqa: S608
                cursor.execute(update, [later, key])
        cursor.execute("SET session_replication_role = origin")


def adopt() -> str:
    out = StringIO()
    call_command("adopt_cluster", stdout=out)
    return out.getvalue()


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_tenant()
    make_price(make_meter(tenant, key="calls"), "0.10")
    return tenant


@pytest.fixture
def wallet(tenant: Tenant) -> Wallet:
    """Of a customer who pays 0.10 for each call, with 10.00 of credit that burns as they come in."""
    customer = make_customer(tenant, external_id="crm-1")
    make_subscription(customer, make_plan(tenant, [CALLS]))
    made = make_wallet(customer, settlement=Settlement.ON_EVENT)
    make_grant(made, "10.00")
    return made


def calls(value: int) -> dict[str, object]:
    named = {"event_name": "calls", "customer": "crm-1", "timestamp": AT.isoformat()}
    return {**named, "value": value}


def use(tenant: Tenant, value: int) -> None:
    (receipt,) = send(tenant, [calls(value)])
    assert receipt.status == "accepted"


def read_all() -> None:
    count_all()
    burn_all(MONTH)


def measured(wallet: Wallet) -> Decimal:
    """Return how many calls would be billed now."""
    version = latest_version(Meter.objects.get().pk)
    span = UsageSpan(AT - timedelta(days=1), MONTH, unassigned=True)
    request = UsageRequest(0, wallet.tenant_id, wallet.customer_id, None, version.pk, (span,))
    (one,) = measure([request]).by_request[0]
    return one.measured.quantity


def broken_rules() -> set[str]:
    return {found.split("'")[1] for found in all_breaches()}


@pytest.mark.parametrize(
    ("rule", "breaking"),
    [
        (
            "metering.nothing_to_come_is_read",
            "UPDATE metering_rollupfrontier SET below_xid = 9000000000000",
        ),
        (
            "wallets.nothing_to_come_has_burned",
            "UPDATE wallets_burnfrontier SET below_xid = 9000000000000",
        ),
        (
            "wallets.nothing_to_come_has_burned",
            "UPDATE wallets_burnedahead SET snapshot = '9000000000000:9000000000000:'",
        ),
        (
            "invoicing.nothing_to_come_was_billed",
            "UPDATE invoicing_invoice SET usage_snapshot = '9000000000000:9000000000000:'",
        ),
    ],
)
def test_each_rule_finds_what_is_to_come(
    tenant: Tenant, wallet: Wallet, rule: str, breaking: str
) -> None:
    use(tenant, 40)
    read_all()
    close_due(MONTH, actor=ACTOR)
    assert broken_rules() == set()
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(breaking)
        assert cursor.rowcount == 1
        cursor.execute("SET session_replication_role = origin")
    assert broken_rules() == {rule}


def test_before_it_is_adopted_nothing_is_taken_or_read(tenant: Tenant, wallet: Wallet) -> None:
    """What came in would be below what has been read: stored, and never billed."""
    use(tenant, 40)
    read_all()
    assert (passed_over(), check_cluster().status) == ("", "ok")
    refuse_to_work_on_wrong_tables()
    come_from_an_older_cluster()

    passing = (
        lambda: use(tenant, 2),
        lambda: make_amendment(Meter.objects.get(), wallet.customer),
        roll_up,
        lambda: burn_usage(wall=MONTH),
        lambda: measured(wallet),
    )
    for one in passing:
        with pytest.raises(OperationalError, match=r"run manage\.py adopt_cluster"):
            one()
    answer = Api(make_key(tenant)).post("/events", {**calls(2), "idempotency_key": "again"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_usageevent")
        assert cursor.fetchone() == (1,)
    summary = close_due(MONTH, actor=ACTOR)
    assert (summary.documents, summary.parked) == (0, 1)
    assert "run manage.py adopt_cluster" in ParkedCustomer.objects.get().reason

    answer = Client().get("/health/ready")
    assert (answer.status_code, answer.json()["dependencies"]["cluster"]) == (503, "not adopted")
    finding = check_cluster()
    assert (finding.status, "manage.py adopt_cluster" in finding.remedy) == ("missing", True)
    with pytest.raises(SystemExit, match="adopt_cluster"):
        refuse_to_work_on_wrong_tables()
    assert broken_rules() == {
        "metering.nothing_to_come_is_read",
        "wallets.nothing_to_come_has_burned",
    }


def test_adopted_it_reads_what_is_left_and_what_comes_and_nothing_again(
    tenant: Tenant, wallet: Wallet
) -> None:
    use(tenant, 40)
    read_all()
    close_due(MONTH, actor=ACTOR)
    line = InvoiceLine.objects.get(kind="usage")
    use(tenant, 5)  # the readers have not come to it when the dump is made
    make_amendment(Meter.objects.get(), wallet.customer)  # nor to the one that this brings in
    come_from_an_older_cluster()

    assert adopt().startswith("Adopted: transactions count on from 1,000,")
    assert adopt().startswith("Nothing to do")
    assert (passed_over(), check_cluster().status) == ("", "ok")
    assert measured(wallet) == 46
    use(tenant, 7)
    make_amendment(Meter.objects.get(), wallet.customer)
    assert measured(wallet) == 54
    read_all()
    assert measured(wallet) == 54
    assert fresh_wallet(wallet).balance == Decimal("4.6")
    assert all_breaches() == []
    # what was billed is explained by what it saw, and the next document bills the rest
    assert verify(line).differences == ()
    assert [one.value for one in usage_behind(line, after=0, limit=9)] == [40]
    close_due(MONTH + timedelta(days=31), actor=ACTOR)
    billed = InvoiceLine.objects.filter(kind="usage").values_list("amount", flat=True)
    assert sum(billed) == Decimal("5.4")
    assert fresh_wallet(wallet).balance == Decimal("4.6")
    assert all_breaches() == []


def test_adopted_it_skips_no_slow_transaction(tenant: Tenant, wallet: Wallet) -> None:
    use(tenant, 1)
    read_all()
    come_from_an_older_cluster()
    adopt()
    where = connection.get_connection_params()
    slow = psycopg.connect(**{n: where[n] for n in ("dbname", "user", "host") if where.get(n)})
    slow.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant.id)])
    slow.execute(
        "INSERT INTO metering_usageevent (tenant_id, id, customer_id, event_name, occurred_at,"
        " value, properties, key, received_at)"
        " VALUES (%s, gen_random_uuid(), %s, 'calls', %s, 100, '{}', 'slow', %s)",
        [tenant.id, wallet.customer_id, AT, AT],
    )
    use(tenant, 2)
    assert roll_up() == 0
    assert measured(wallet) == 3
    slow.commit()
    slow.close()
    assert measured(wallet) == 103
    assert count_all() == 2
    assert measured(wallet) == 103


def test_a_cluster_may_be_adopted_more_than_once(tenant: Tenant, wallet: Wallet) -> None:
    for value in (1, 2, 3):
        use(tenant, value)
        read_all()
        come_from_an_older_cluster()
        assert adopt().startswith(f"Adopted: transactions count on from {value},000,")
    use(tenant, 4)
    read_all()
    assert measured(wallet) == 10
    assert fresh_wallet(wallet).balance == 9
    assert all_breaches() == []


def test_only_the_owner_adopts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"):
        adopt_cluster(database="default")
    assert adopt_cluster(database="owner").was_to_come is False
    monkeypatch.delitem(connections.settings, "owner")
    with pytest.raises(CommandError, match="DATABASE_OWNER_URL"):
        adopt()


# what compares numbers only with those of its own transaction, or of the minute; and the definitions
_OWN: Final = {
    "apps/backoffice/bench/limit.py",
    "apps/backoffice/operations/clusters.py",
    "apps/core/audit.py",
    "core_auditpending.written_xid",
    "core_count_on",
    "core_snapshot",
    "journal_written_now",
    "line_frozen",
    "ledger_journalentry.written_xid",
    "posting_fits",
}
_IN_NUMBERS: Final = re.compile(
    r"core_number\((pg_current_xact_id(_if_assigned)?\(\)|pg_snapshot_xm(in|ax)\(pg_current_snapshot\(\)\))\)"
)
_RAW: Final = re.compile(r"pg_current_(xact_id|snapshot)|txid_current")


def test_nobody_else_remembers_the_numbers_of_the_cluster() -> None:
    sources = {
        str(path.relative_to(settings.BASE_DIR)): path.read_text()
        for path in Path(settings.BASE_DIR).glob("apps/**/*.py")
        if "migrations" not in path.parts
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " UNION ALL SELECT adrelid::regclass || '.' || attname, pg_get_expr(adbin, adrelid)"
            " FROM pg_attrdef JOIN pg_attribute ON (attrelid, attnum) = (adrelid, adnum)"
            " UNION ALL SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'"
        )
        sources |= dict(cursor.fetchall())
    raw = {name for name, text in sources.items() if _RAW.search(_IN_NUMBERS.sub("", text))}
    assert raw == _OWN
