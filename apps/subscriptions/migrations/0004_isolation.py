"""Row security, and what this app looks for across tenants; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'subscriptions_subscription',
  'subscriptions_subscriptionsegment',
  'subscriptions_scheduledchange'
]::regclass[]) AS one;
SELECT let_see_all(one) FROM unnest(ARRAY[
  'subscriptions_segments_tile()',
  'subscriptions_keep_grid()'
]::regprocedure[]) AS one;

-- tenants of which a subscription begins, changes, renews or ends by an instant of real time
CREATE FUNCTION subscriptions_tenants_with_changes(at timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id FROM subscriptions_subscription WHERE status = 'scheduled' AND started_at <= at
  UNION
  SELECT tenant_id FROM subscriptions_subscription
  WHERE status IN ('active', 'paused', 'suspended') AND ends_at <= at
  UNION
  SELECT tenant_id FROM subscriptions_subscription
  WHERE status IN ('active', 'paused', 'suspended') AND term_ends_at <= at
  UNION
  SELECT tenant_id FROM subscriptions_scheduledchange
  WHERE status = 'pending' AND effective_at <= at
$$;
"""
BACKWARD = """
DROP FUNCTION subscriptions_tenants_with_changes;
SELECT join_tenants(one) FROM unnest(ARRAY[
  'subscriptions_subscription',
  'subscriptions_subscriptionsegment',
  'subscriptions_scheduledchange'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("subscriptions", "0003_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
