"""Events remember transactions by core_number, and are refused where they would not be read."""

from django.db import migrations

FORWARD = """
ALTER TABLE metering_usageevent
  ALTER COLUMN ingest_xid SET DEFAULT core_number(pg_current_xact_id());
ALTER TABLE metering_eventeffect ALTER COLUMN xid SET DEFAULT core_number(pg_current_xact_id());

-- no event, and no amendment, may come in where the reader has passed already
CREATE FUNCTION metering_will_be_read() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM core_counted(below_xid) FROM metering_rollupfrontier;
  RETURN NULL;
END $$;
SELECT let_see_all('metering_will_be_read()');
CREATE TRIGGER will_be_read BEFORE INSERT ON metering_usageevent
  FOR EACH STATEMENT EXECUTE FUNCTION metering_will_be_read();
CREATE TRIGGER will_be_read BEFORE INSERT ON metering_eventeffect
  FOR EACH STATEMENT EXECUTE FUNCTION metering_will_be_read();

-- was what this transaction stored visible in the snapshot? Without one: yes. To the caller's own
-- transaction its own events are, though its snapshots do not say so.
CREATE OR REPLACE FUNCTION metering_visible(xid xid8, snapshot pg_snapshot) RETURNS boolean
LANGUAGE sql STABLE PARALLEL RESTRICTED AS $$
  SELECT snapshot IS NULL OR pg_visible_in_snapshot(xid, snapshot)
         OR xid = core_number(pg_current_xact_id_if_assigned())
$$;

-- where the reader stands, how far it may go, whether there is anything to read on the way, and
-- behind which transaction so many events would have been read
CREATE OR REPLACE FUNCTION metering_horizon(
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
  FROM metering_rollupfrontier f,
       (SELECT core_number(pg_snapshot_xmin(pg_current_snapshot())) AS xid) AS h
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0004_cluster"), ("metering", "0006_overlay")]
    operations = [migrations.RunSQL(FORWARD)]
