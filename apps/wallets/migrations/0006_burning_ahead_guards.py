"""Row security for what burned ahead; and readers that give back what amendments take out."""

from django.db import migrations

FORWARD = """
SELECT isolate('wallets_burnedahead');

-- where the reader that burns stands, how far it may go, whether there is anything to read on the
-- way, and behind which transaction so many events would have been read
CREATE OR REPLACE FUNCTION wallets_horizon(
  chunk int, OUT first bigint, OUT below bigint, OUT is_any boolean, OUT bound bigint
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT f.below_xid, h.xid::text::bigint,
         EXISTS (SELECT FROM metering_usageevent e
                 WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid)
         OR EXISTS (SELECT FROM metering_eventeffect x
                    WHERE x.xid >= f.below_xid::text::xid8 AND x.xid < h.xid),
         (SELECT e.ingest_xid::text::bigint + 1 FROM metering_usageevent e
          WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid
          ORDER BY e.ingest_xid LIMIT 1 OFFSET chunk)
  FROM wallets_burnfrontier f, (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid) AS h
$$;

-- tenants of which customers used something, or had usage amended, in transactions of
-- [first, below) while their credit burns by events
CREATE OR REPLACE FUNCTION wallets_tenants_to_burn(first xid8, below xid8) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT u.tenant_id FROM (
    SELECT e.tenant_id, e.customer_id FROM metering_usageevent e
    WHERE e.ingest_xid >= first AND e.ingest_xid < below
    UNION ALL
    SELECT x.tenant_id, x.customer_id FROM metering_eventeffect x
    WHERE x.xid >= first AND x.xid < below) AS u
  WHERE EXISTS (SELECT FROM wallets_creditprice c WHERE c.tenant_id = u.tenant_id)
    AND EXISTS (SELECT FROM wallets_wallet w
                WHERE w.customer_id = u.customer_id AND w.settlement = 'on_event')
$$;
"""
BACKWARD = """
SELECT join_tenants('wallets_burnedahead');
"""


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0003_isolation"),
        ("metering", "0006_overlay"),
        ("wallets", "0005_burning_ahead"),
    ]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
