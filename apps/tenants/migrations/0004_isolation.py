"""Row security, and what this app looks for across tenants; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'tenants_apikey',
  'tenants_testclock',
  'tenants_membership'
]::regclass[]) AS one;

SELECT let_see_all('check_twins()');

-- a role at a company is kept at its live tenant and good in both modes
DROP POLICY own_tenant ON tenants_membership;
CREATE POLICY own_company ON tenants_membership USING (tenant_id IN (
  SELECT unnest(ARRAY[id, twin_id]) FROM tenants_tenant
  WHERE id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)));

-- the API key that has a hash, with its tenant and the clock that the tenant lives on
CREATE FUNCTION tenants_key_by_hash(wanted bytea)
RETURNS TABLE (key tenants_apikey, tenant tenants_tenant, clock tenants_testclock)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT k, t, c FROM tenants_apikey k JOIN tenants_tenant t ON t.id = k.tenant_id
  LEFT JOIN tenants_testclock c ON c.id = t.test_clock_id
  WHERE k.hash = wanted
$$;

-- the companies where an operator has a role, and which
CREATE FUNCTION tenants_roles_of(operator uuid) RETURNS TABLE (tenant_id uuid, role text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.tenant_id, m.role FROM tenants_membership m WHERE m.operator_id = operator
$$;
"""
BACKWARD = """
DROP FUNCTION tenants_roles_of, tenants_key_by_hash;
DROP POLICY own_company ON tenants_membership;
CREATE POLICY own_tenant ON tenants_membership USING (true);
SELECT join_tenants(one) FROM unnest(ARRAY[
  'tenants_apikey',
  'tenants_testclock',
  'tenants_membership'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("tenants", "0003_second_factor")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
