"""Row security, and what this app looks for across tenants; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'wallets_creditunit',
  'wallets_creditprice',
  'wallets_wallet',
  'wallets_topoffrule',
  'wallets_creditgrant',
  'wallets_credithold',
  'wallets_credittransaction',
  'wallets_usagesettlement',
  'wallets_settlementundone'
]::regclass[]) AS one;
SELECT let_see_all(one) FROM unnest(ARRAY[
  'credit_entries_follow()',
  'wallet_adds_up()',
  'grant_adds_up()'
]::regprocedure[]) AS one;

-- tenants with holds that end, grants that begin, expire or are to be reminded of by an instant of
-- real time, or wallets below their watermark
CREATE FUNCTION wallets_tenants_with_due(at timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id FROM wallets_credithold WHERE status = 'open' AND expires_at <= at
  UNION
  SELECT tenant_id FROM wallets_creditgrant WHERE status = 'available' AND expires_at <= at
  UNION
  SELECT tenant_id FROM wallets_creditgrant WHERE status = 'scheduled' AND effective_at <= at
  UNION
  SELECT tenant_id FROM wallets_creditgrant WHERE status = 'available' AND remind_at <= at
  UNION
  SELECT tenant_id FROM wallets_wallet WHERE status = 'active' AND balance < low_watermark
$$;

-- where the reader that burns stands, how far it may go, whether there is anything to read on the
-- way, and behind which transaction so many events would have been read
CREATE FUNCTION wallets_horizon(
  chunk int, OUT first bigint, OUT below bigint, OUT is_any boolean, OUT bound bigint
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT f.below_xid, h.xid::text::bigint,
         EXISTS (SELECT FROM metering_usageevent e
                 WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid),
         (SELECT e.ingest_xid::text::bigint + 1 FROM metering_usageevent e
          WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid
          ORDER BY e.ingest_xid LIMIT 1 OFFSET chunk)
  FROM wallets_burnfrontier f, (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid) AS h
$$;

-- tenants of which customers used something in transactions of [first, below) while their credit
-- burns by events
CREATE FUNCTION wallets_tenants_to_burn(first xid8, below xid8) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT e.tenant_id FROM metering_usageevent e
  WHERE e.ingest_xid >= first AND e.ingest_xid < below
    AND EXISTS (SELECT FROM wallets_creditprice c WHERE c.tenant_id = e.tenant_id)
    AND EXISTS (SELECT FROM wallets_wallet w
                WHERE w.customer_id = e.customer_id AND w.settlement = 'on_event'
                  AND w.status <> 'closed')
$$;
"""
BACKWARD = """
DROP FUNCTION wallets_tenants_to_burn, wallets_horizon, wallets_tenants_with_due;
SELECT join_tenants(one) FROM unnest(ARRAY[
  'wallets_creditunit',
  'wallets_creditprice',
  'wallets_wallet',
  'wallets_topoffrule',
  'wallets_creditgrant',
  'wallets_credithold',
  'wallets_credittransaction',
  'wallets_usagesettlement',
  'wallets_settlementundone'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0003_isolation"),
        ("metering", "0004_isolation"),
        ("wallets", "0003_short_subscriptions"),
    ]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
