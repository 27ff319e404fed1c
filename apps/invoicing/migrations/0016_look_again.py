"""Who is to be looked at for a threshold though a bill has taken up the change of his usage."""

from django.db import migrations, models

# tenants with a price that need not wait for the end of its period, and usage that has changed
FORWARD = """
CREATE OR REPLACE FUNCTION invoicing_tenants_with_accruals() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT p.tenant_id FROM catalog_chargeprice p
  WHERE p.billing_threshold IS NOT NULL AND (
    EXISTS (SELECT FROM metering_changedusage c WHERE c.tenant_id = p.tenant_id)
    OR EXISTS (
      SELECT FROM invoicing_accruallook a WHERE a.tenant_id = p.tenant_id AND a.mark IS NULL))
$$;
"""
BACKWARD = """
CREATE OR REPLACE FUNCTION invoicing_tenants_with_accruals() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT p.tenant_id FROM catalog_chargeprice p
  WHERE p.billing_threshold IS NOT NULL
    AND EXISTS (SELECT FROM metering_changedusage c WHERE c.tenant_id = p.tenant_id)
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0015_backtest_guards")]
    operations = [
        migrations.AlterField(
            model_name="accruallook", name="mark", field=models.BigIntegerField(null=True)
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
