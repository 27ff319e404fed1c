"""The reader that burns remembers transactions by core_number."""

from django.db import migrations

FORWARD = """
-- where the reader that burns stands, how far it may go, whether there is anything to read on the
-- way, and behind which transaction so many events would have been read
CREATE OR REPLACE FUNCTION wallets_horizon(
  chunk int, OUT first bigint, OUT below bigint, OUT is_any boolean, OUT bound bigint
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT core_counted(f.below_xid), h.xid::text::bigint,
         EXISTS (SELECT FROM metering_usageevent e
                 WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid)
         OR EXISTS (SELECT FROM metering_eventeffect x
                    WHERE x.xid >= f.below_xid::text::xid8 AND x.xid < h.xid),
         (SELECT e.ingest_xid::text::bigint + 1 FROM metering_usageevent e
          WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid
          ORDER BY e.ingest_xid LIMIT 1 OFFSET chunk)
  FROM wallets_burnfrontier f,
       (SELECT core_number(pg_snapshot_xmin(pg_current_snapshot())) AS xid) AS h
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0004_cluster"), ("wallets", "0007_disputed_credit")]
    operations = [migrations.RunSQL(FORWARD)]
