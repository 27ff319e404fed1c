"""Row security, and what this app looks for across tenants; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'payments_paymentmethod',
  'payments_payment',
  'payments_allocation',
  'payments_collection',
  'payments_sandboxcharge'
]::regclass[]) AS one;
SELECT let_see_all(one) FROM unnest(ARRAY[
  'payment_lives()',
  'allocation_bounded()',
  'method_kept()',
  'method_like_customer()'
]::regprocedure[]) AS one;

-- tenants that have invoices to be collected again
CREATE FUNCTION payments_tenants_to_collect(at timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT tenant_id FROM payments_collection WHERE next_attempt_at <= at
$$;

-- tenants that have payments whose outcome is to be asked for
CREATE FUNCTION payments_tenants_to_ask(at timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT tenant_id FROM payments_payment WHERE ask_after <= at
$$;
"""
BACKWARD = """
DROP FUNCTION payments_tenants_to_ask, payments_tenants_to_collect;
SELECT join_tenants(one) FROM unnest(ARRAY[
  'payments_paymentmethod',
  'payments_payment',
  'payments_allocation',
  'payments_collection',
  'payments_sandboxcharge'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("payments", "0003_method_expires")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
