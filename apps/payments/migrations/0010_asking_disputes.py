"""Which tenants have providers that can be asked for disputes."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION payments_tenants_to_ask_disputes() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT t.id FROM tenants_tenant t WHERE EXISTS (
    SELECT FROM payments_paymentmethod m WHERE m.tenant_id = t.id AND m.provider <> 'external')
$$;
"""
BACKWARD = "DROP FUNCTION payments_tenants_to_ask_disputes;"


class Migration(migrations.Migration):
    dependencies = [("payments", "0009_dispute_guards"), ("tenants", "0004_isolation")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
