"""What the database itself keeps apart: every table, partition, view and function of it."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import ForeignKey

from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.metering.models import Meter
from apps.tenants.models import Tenant
from tests.make.backoffice import make_world
from tests.make.customers import make_customer
from tests.make.metering import send
from tests.make.tenants import AT, make_tenant
from tests.servers import as_superuser

pytestmark = [pytest.mark.django_db, pytest.mark.holds("T2", "S3")]

# What sees the rows of all tenants; docs/adr/0007 says what for. Whoever adds one says so there.
ACROSS: Final = {
    "core_claim_job",
    "core_is_unsealed_before",
    "core_stalled_jobs",
    "core_tenants_to_seal",
    "core_tenants_with_chain",
    "invoicing_tenants_to_bill",
    "invoicing_tenants_with_accruals",
    "invoicing_tenants_with_drafts",
    "invoicing_tenants_with_overdue",
    "metering_add",
    "metering_drop_partition",
    "metering_horizon",
    "metering_make_partition",
    "metering_mark",
    "metering_months_in_default",
    "metering_remake",
    "metering_tenants_with_orphans",
    "metering_tenants_with_rollups",
    "metering_versions_behind",
    "payments_tenants_to_ask",
    "payments_tenants_to_ask_disputes",
    "payments_tenants_to_ask_refunds",
    "payments_tenants_to_collect",
    "subscriptions_tenants_with_changes",
    "tenants_key_by_hash",
    "tenants_roles_of",
    "wallets_horizon",
    "wallets_tenants_to_burn",
    "wallets_tenants_with_due",
}
_OWNED: Final = """
SELECT c.oid::regclass::text, c.relrowsecurity AND c.relforcerowsecurity,
       (SELECT CASE WHEN count(*) = 1 THEN min(pg_get_expr(p.polqual, p.polrelid))
                    FILTER (WHERE p.polcmd = '*' AND p.polwithcheck IS NULL) END
        FROM pg_policy p WHERE p.polrelid = c.oid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
ORDER BY 1
"""


# in their order, and none that the server computes itself
_COLUMNS: Final = """
SELECT c.oid::regclass::text, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
GROUP BY 1 ORDER BY 1
"""


def rows(statement: str, *values: UUID) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def not_isolated() -> list[str]:
    """Return the tables with a tenant whose rows are not kept apart."""
    return [
        table
        for table, is_forced, policy in rows(_OWNED)
        if not is_forced or not _is_own_tenant(policy or "")
    ]


def _is_own_tenant(policy: str) -> bool:
    # told once per statement, in a subquery; of memberships more than that, see their migration
    return (
        "( SELECT (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid" in policy
    )


def test_every_table_of_tenants_is_isolated() -> None:
    assert len(rows(_OWNED)) > 55
    assert not_isolated() == []


@pytest.mark.parametrize(
    "carelessly",
    [
        "CREATE TABLE new_table (tenant_id uuid)",
        (
            "CREATE TABLE new_table (tenant_id uuid);"
            " ALTER TABLE new_table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            " CREATE POLICY own_tenant ON new_table USING (true)"
        ),
        (
            "CREATE TABLE new_table (tenant_id uuid); SELECT isolate('new_table');"
            " CREATE POLICY all_tenants ON new_table USING (true)"
        ),
        "ALTER TABLE customers_customer NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE customers_customer DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_tenant ON customers_customer",
        "ALTER POLICY own_tenant ON customers_customer USING (true)",
        (
            "ALTER POLICY own_tenant ON customers_customer"
            " USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)"
        ),
        (
            "CREATE TABLE new_partition PARTITION OF metering_usageevent"
            " FOR VALUES FROM ('1999-01-01Z') TO ('1999-02-01Z')"
        ),
    ],
)
def test_a_table_that_is_not_isolated_is_seen(carelessly: str) -> None:
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute(carelessly)
    assert len(not_isolated()) == 1


def test_a_partition_that_the_program_makes_is_isolated() -> None:
    assert rows("SELECT metering_make_partition('1999-01-01')") == [(True,)]
    assert "metering_usageevent_199901" in [table for table, *_ in rows(_OWNED)]
    assert not_isolated() == []


_REFERENCES: Final = """
SELECT c.conname FROM pg_constraint c
JOIN pg_attribute mine ON mine.attrelid = c.conrelid AND mine.attname = 'tenant_id'
JOIN pg_attribute theirs ON theirs.attrelid = c.confrelid AND theirs.attname = 'tenant_id'
-- a segment's phase is of its plan's version, and that of its tenant; as with wallets' entries
WHERE c.contype = 'f' AND c.conname NOT IN ('segment_phase_of_version',
    'credit_entry_grant_of_wallet', 'credit_entry_hold_of_wallet') AND NOT EXISTS (
  SELECT FROM unnest(c.conkey, c.confkey) AS pair(of_mine, of_theirs)
  WHERE of_mine = mine.attnum AND of_theirs = theirs.attnum)
ORDER BY 1
"""


def test_rows_of_a_tenant_refer_only_to_rows_of_the_same() -> None:
    assert rows(_REFERENCES) == []


_REFERRING: Final = """
SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
WHERE c.contype = 'f'
"""


def unkept() -> list[tuple[str, str]]:
    """Return the columns that refer to rows of a table, and that the database does not hold to it."""
    kept = set(rows(_REFERRING))
    found: list[tuple[str, Any]] = [
        (model._meta.db_table, column)
        for model in apps.get_models()
        if model._meta.managed
        for column in model._meta.concrete_fields
        if isinstance(column, ForeignKey)
    ]
    pairs = [(table, column.column) for table, column in found if column.db_constraint]
    return [pair for pair in pairs if pair not in kept]


def test_what_a_model_refers_to_the_database_holds_it_to() -> None:
    assert unkept() == []
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute(
            "DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE metering_meterversion DROP CONSTRAINT"
            " %I', conname) FROM pg_constraint WHERE contype = 'f' AND conrelid ="
            " 'metering_meterversion'::regclass AND confrelid = 'metering_meter'::regclass);"
            " END $$"
        )
    assert unkept() == [("metering_meterversion", "meter_id")]


def test_a_reference_that_leaves_the_tenant_out_is_seen() -> None:
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE customers_taxid ADD CONSTRAINT careless"
            " FOREIGN KEY (customer_id) REFERENCES customers_customer (id)"
        )
    assert rows(_REFERENCES) == [("careless",)]


def test_a_row_of_one_tenant_cannot_point_at_anothers() -> None:
    tenant, theirs = make_tenant(), make_customer(make_tenant())
    statement = (
        "INSERT INTO customers_taxid (id, tenant_id, customer_id, kind, value)"
        " VALUES (gen_random_uuid(), %s, %s, 'us_ein', '1');"
        " SET CONSTRAINTS ALL IMMEDIATE"
    )
    with (
        tenant_scope(tenant.id),
        connection.cursor() as cursor,
        pytest.raises(IntegrityError, match="customers_taxid"),
        transaction.atomic(),
    ):
        cursor.execute(statement, [tenant.id, theirs.id])


@pytest.mark.holds("S45")
def test_tests_have_the_rights_of_the_program() -> None:
    found = rows(
        "SELECT current_user, session_user, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,"
        " (SELECT count(*) FROM pg_class WHERE relowner = r.oid),"
        " pg_has_role('billing_owner', 'USAGE') FROM pg_roles r WHERE rolname = current_user"
    )
    assert found == [("billing", "billing", False, False, False, False, 0, False)]


@pytest.mark.holds("S45")
@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE customers_customer",
        "ALTER TABLE customers_customer DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE customers_customer DISABLE TRIGGER USER",
        "DROP POLICY own_tenant ON customers_customer",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "SET row_security = off; SELECT count(*) FROM customers_customer",
        "COPY customers_customer FROM STDIN",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SET ROLE billing_owner",
        "CREATE ROLE another",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION core_tenants_to_seal() SECURITY INVOKER",
    ],
)
def test_the_program_cannot_free_itself(statement: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        rows(statement)


def test_views_show_what_their_reader_may_see() -> None:
    careless = rows(
        "SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace"
        " AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)"
    )
    assert careless == []


def test_what_sees_all_tenants_is_known_and_cannot_be_led_astray() -> None:
    found = rows(
        "SELECT proname, proconfig @> ARRAY['search_path=public, pg_temp'],"
        " has_function_privilege('public', oid, 'EXECUTE'), pg_get_userbyid(proowner)"
        " FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        " AND prorettype <> 'trigger'::regtype ORDER BY proname"
    )
    assert {name for name, *_ in found} == ACROSS
    assert {tuple(rest) for _, *rest in found} == {(True, False, "billing_owner")}


def test_triggers_that_look_at_other_rows_see_all_of_them() -> None:
    blind = rows(
        "SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_trigger t ON t.tgfoid = p.oid"
        " WHERE p.pronamespace = 'public'::regnamespace AND NOT p.prosecdef"
        r" AND p.prosrc ~ '\m(FROM|JOIN)\M\s+(\w+_\w+)'"
    )
    assert blind == []


def tables_with_rows() -> Iterator[str]:
    for table, *_ in rows(_OWNED):
        if rows(f"SELECT 1 FROM {table} LIMIT 1"):  # noqa: S608 -- a table's name
            yield table


@pytest.fixture
def two_worlds() -> tuple[Tenant, Tenant]:
    """Two tenants that both have rows of every kind."""
    tenant, other = make_tenant(), make_tenant()
    for one in (tenant, other):
        make_world(one)
        with tenant_scope(one.id):
            customer, meter = Customer.objects.earliest("id"), Meter.objects.get()
        used = {"meter": meter.key, "customer": customer.public_id, "value": 1}
        [receipt] = send(one, [{**used, "timestamp": AT.isoformat()}])
        assert receipt.status == "accepted"
    return tenant, other


def test_without_a_tenant_there_are_no_rows_and_in_anothers_scope_none_of_mine(
    two_worlds: tuple[Tenant, Tenant],
) -> None:
    with as_superuser():
        filled = set(tables_with_rows())
    empty = {table for table, *_ in rows(_OWNED)} - filled
    assert {table for table in empty if not table.startswith("metering_usageevent_")} == set()
    with tenant_scope(None):
        assert list(tables_with_rows()) == []
    for one in two_worlds:
        with tenant_scope(one.id):
            assert set(tables_with_rows()) == filled
            for table in filled:
                assert rows(f"SELECT DISTINCT tenant_id FROM {table}") == [(one.id,)]  # noqa: S608


_ONE: Final = "SELECT to_jsonb(t)::text FROM {} t LIMIT 1"
_COPY: Final = "INSERT INTO {0} SELECT {1} FROM jsonb_populate_record(null::{0}, %s)"
_TAKE_OVER: Final = "UPDATE {} SET tenant_id = %s WHERE tenant_id = %s"
_HAND_OVER: Final = "UPDATE {} SET tenant_id = %s"
_DELETE: Final = "DELETE FROM {} WHERE tenant_id = %s"


def run(statement: str, *values: UUID | str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def refused(table: str, statement: str, *values: UUID | str) -> bool:
    """Say whether the policy of the table refuses the statement."""
    said = f'new row violates row-level security policy for table "{table}"'
    try:
        with transaction.atomic():
            run(statement, *values)
    except DatabaseError as error:
        return str(error) == said
    return False


def test_nothing_is_written_changed_or_deleted_for_another_tenant(
    two_worlds: tuple[Tenant, Tenant],
) -> None:
    tenant, other = two_worlds
    with as_superuser():
        theirs = {table: rows(f"TABLE {table}") for table in tables_with_rows()}
        run("SET LOCAL session_replication_role = replica")  # without the help of triggers
    careless = []
    for table, columns in rows(_COLUMNS):
        if table not in theirs:
            continue
        with tenant_scope(other.id):
            ((row,),) = rows(_ONE.format(table))
        copy, take_over = _COPY.format(table, columns), _TAKE_OVER.format(table)
        hand_over, delete = _HAND_OVER.format(table), _DELETE.format(table)
        for scope in (None, tenant.id):
            with tenant_scope(scope):
                careless += [f"{scope}: {copy}"] * (not refused(table, copy, row))
                assert run(take_over, tenant.id, other.id) == 0
                assert run(delete, other.id) == 0
        with tenant_scope(tenant.id):
            careless += [hand_over] * (not refused(table, hand_over, other.id))
    assert careless == []
    with as_superuser():
        assert {table: rows(f"TABLE {table}") for table in tables_with_rows()} == theirs
