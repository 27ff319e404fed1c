"""Row security for what was looked at, and what looks for it across tenants; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate('invoicing_accruallook');

-- tenants with usage that has changed, and a price that need not wait for the end of its period
CREATE FUNCTION invoicing_tenants_with_accruals() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT p.tenant_id FROM catalog_chargeprice p
  WHERE p.billing_threshold IS NOT NULL
    AND EXISTS (SELECT FROM metering_changedusage c WHERE c.tenant_id = p.tenant_id)
$$;
"""
BACKWARD = """
DROP FUNCTION invoicing_tenants_with_accruals;
SELECT join_tenants('invoicing_accruallook');
"""


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0003_isolation"),
        ("metering", "0004_isolation"),
        ("invoicing", "0011_agreements"),
    ]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
