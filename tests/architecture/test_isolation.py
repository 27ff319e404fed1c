"""What the database itself keeps apart: every table, partition, view and function of it."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from apps.core.tenancy import tenant_scope
from tests.make.backoffice import make_world
from tests.make.customers import make_customer
from tests.make.tenants import make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

# What sees the rows of all tenants; docs/adr/0007 says what for. Whoever adds one says so there.
ACROSS: Final = {
    "core_claim_job",
    "core_is_unsealed_before",
    "core_stalled_jobs",
    "core_tenants_to_seal",
    "core_tenants_with_chain",
    "invoicing_tenants_to_bill",
    "invoicing_tenants_with_drafts",
    "invoicing_tenants_with_overdue",
    "metering_add",
    "metering_drop_partition",
    "metering_horizon",
    "metering_make_partition",
    "metering_mark",
    "metering_months_in_default",
    "metering_tenants_with_orphans",
    "metering_tenants_with_rollups",
    "metering_versions_behind",
    "payments_tenants_to_ask",
    "payments_tenants_to_ask_refunds",
    "payments_tenants_to_collect",
    "subscriptions_tenants_with_changes",
    "tenants_key_by_hash",
    "tenants_roles_of",
}
_OWNED: Final = """
SELECT c.oid::regclass::text, c.relrowsecurity AND c.relforcerowsecurity,
       (SELECT string_agg(pg_get_expr(p.polqual, p.polrelid), ' ') FROM pg_policy p
        WHERE p.polrelid = c.oid AND p.polcmd = '*' AND p.polwithcheck IS NULL)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
ORDER BY 1
"""


def rows(statement: str, *values: UUID) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


# The tables whose policies are switched on. The others are read in the scope of their tenant
# already, but for the sweeps of wallets; their turn comes with those.
ISOLATED: Final = {
    "backoffice_bookscheck",
    "catalog_addonoffer",
    "catalog_plantransition",
    "core_idempotencyrecord",
    "invoicing_creditpaidout",
    "invoicing_invoicetax",
    "payments_refund",
    "payments_sandboxrefund",
    "taxes_taxrate",
    "tenants_apikey",
    "tenants_membership",
}


def isolated() -> set[str]:
    """Return the tables with a tenant whose rows are kept apart."""
    return {
        table
        for table, is_forced, policy in rows(_OWNED)
        if is_forced and "current_setting('app.tenant_id'::text, true)" in (policy or "")
    }


def test_rows_are_kept_apart() -> None:
    assert isolated() == ISOLATED


@pytest.mark.parametrize(
    "carelessly",
    [
        "ALTER TABLE tenants_apikey NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE tenants_apikey DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_tenant ON tenants_apikey",
        "ALTER POLICY own_tenant ON tenants_apikey USING (true)",
    ],
)
def test_a_table_that_is_not_isolated_is_seen(carelessly: str) -> None:
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute(carelessly)
    assert isolated() == ISOLATED - {"tenants_apikey"}


_REFERENCES: Final = """
SELECT c.conname FROM pg_constraint c
JOIN pg_attribute mine ON mine.attrelid = c.conrelid AND mine.attname = 'tenant_id'
JOIN pg_attribute theirs ON theirs.attrelid = c.confrelid AND theirs.attname = 'tenant_id'
-- a segment's phase is of its plan's version, and that of its tenant
WHERE c.contype = 'f' AND c.conname <> 'segment_phase_of_version'
  AND c.conrelid::regclass::text NOT LIKE 'wallets_%%' AND NOT EXISTS (
  SELECT FROM unnest(c.conkey, c.confkey) AS pair(of_mine, of_theirs)
  WHERE of_mine = mine.attnum AND of_theirs = theirs.attnum)
ORDER BY 1
"""


def test_rows_of_a_tenant_refer_only_to_rows_of_the_same() -> None:
    assert rows(_REFERENCES) == []


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


def test_tests_have_the_rights_of_the_program() -> None:
    found = rows(
        "SELECT current_user, session_user, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,"
        " (SELECT count(*) FROM pg_class WHERE relowner = r.oid),"
        " pg_has_role('billing_owner', 'USAGE') FROM pg_roles r WHERE rolname = current_user"
    )
    assert found == [("billing", "billing", False, False, False, False, 0, False)]


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE customers_customer",
        "ALTER TABLE tenants_apikey DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE customers_customer DISABLE TRIGGER USER",
        "DROP POLICY own_tenant ON tenants_apikey",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "SET row_security = off; SELECT count(*) FROM tenants_apikey",
        "COPY tenants_apikey FROM STDIN",
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
        " AND t.tgrelid::regclass::text NOT LIKE 'wallets_%%'"
        r" AND p.prosrc ~ '\m(FROM|JOIN)\M\s+(\w+_\w+)'"
    )
    assert blind == []


def tables_with_rows() -> Iterator[str]:
    for table in sorted(ISOLATED):
        if rows(f"SELECT 1 FROM {table} LIMIT 1"):  # noqa: S608 -- a table's name
            yield table


def test_without_a_tenant_there_are_no_rows_and_in_anothers_scope_none_of_mine() -> None:
    make_world(make_tenant())
    other = make_tenant()
    with as_superuser():
        assert set(tables_with_rows()) == ISOLATED
    for scope in (None, other.id):
        with tenant_scope(scope):
            assert list(tables_with_rows()) == []


def test_nothing_is_written_for_another_tenant() -> None:
    tenant, other = make_tenant(), make_tenant()
    statement = (
        "INSERT INTO core_idempotencyrecord"
        " (tenant_id, principal, key, fingerprint, effect_id, leased_until, created_at)"
        " VALUES (%s, 'x', 'x', '', gen_random_uuid(), now(), now())"
    )
    for scope in (None, tenant.id):
        with (
            tenant_scope(scope),
            pytest.raises(DatabaseError, match="row-level security"),
            transaction.atomic(),
        ):
            rows(statement, other.id)
