"""Row security, and what metering does across tenants; see docs/adr/0007."""

from django.db import migrations

ISOLATION = """
SELECT isolate(one) FROM unnest(ARRAY[
  'metering_meter',
  'metering_meterversion',
  'metering_eventstream',
  'metering_usagesubject',
  'metering_orphanevent',
  'metering_usagerollup',
  'metering_rollupposition',
  'metering_changedusage',
  'metering_meterstamp',
  'metering_usageevent'
]::regclass[]) AS one;
SELECT isolate(inhrelid::regclass) FROM pg_inherits
WHERE inhparent = 'metering_usageevent'::regclass;
ALTER VIEW metering_countedevent SET (security_invoker = true);

-- tenants that have meters whose rollups are complete
CREATE FUNCTION metering_tenants_with_rollups() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT tenant_id FROM metering_rollupposition WHERE caught_up
$$;

-- tenants that have open orphans, from an id on
CREATE FUNCTION metering_tenants_with_orphans(since uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT tenant_id FROM metering_orphanevent WHERE status = 'open' AND id >= since
$$;
"""

ISOLATION_BACK = """
DROP FUNCTION metering_tenants_with_orphans, metering_tenants_with_rollups;
ALTER VIEW metering_countedevent RESET (security_invoker);
SELECT join_tenants(inhrelid::regclass) FROM pg_inherits
WHERE inhparent = 'metering_usageevent'::regclass;
SELECT join_tenants(one) FROM unnest(ARRAY[
  'metering_meter',
  'metering_meterversion',
  'metering_eventstream',
  'metering_usagesubject',
  'metering_orphanevent',
  'metering_usagerollup',
  'metering_rollupposition',
  'metering_changedusage',
  'metering_meterstamp',
  'metering_usageevent'
]::regclass[]) AS one;
"""

PARTITIONS = """
-- make the partition of a month, taking over what the default partition holds of it; false if
-- there is one already
CREATE OR REPLACE FUNCTION metering_make_partition(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  name text := 'metering_usageevent_' || to_char(month, 'YYYYMM');
  begins timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
  ends timestamptz := (date_trunc('month', month::timestamp) + interval '1 month')
                      AT TIME ZONE 'UTC';
  bounds text := format('FOR VALUES FROM (%L) TO (%L)', begins, ends);
BEGIN
  IF to_regclass(name) IS NOT NULL THEN
    RETURN false;
  END IF;
  IF row_security_active('metering_usageevent_default') THEN
    -- what it does not see it would drop with the default partition
    RAISE EXCEPTION 'the owner of metering_usageevent must bypass row security';
  END IF;
  IF NOT EXISTS (SELECT FROM metering_usageevent_default
                 WHERE occurred_at >= begins AND occurred_at < ends) THEN
    EXECUTE format('CREATE TABLE %I PARTITION OF metering_usageevent %s', name, bounds);
    PERFORM isolate(name::regclass);
    RETURN true;
  END IF;
  ALTER TABLE metering_usageevent DETACH PARTITION metering_usageevent_default;
  ALTER TABLE metering_usageevent_default RENAME TO metering_usageevent_moving;
  EXECUTE format('CREATE TABLE %I PARTITION OF metering_usageevent %s', name, bounds);
  PERFORM isolate(name::regclass);
  CREATE TABLE metering_usageevent_default PARTITION OF metering_usageevent DEFAULT;
  PERFORM isolate('metering_usageevent_default');
  INSERT INTO metering_usageevent SELECT * FROM metering_usageevent_moving;
  DROP TABLE metering_usageevent_moving;
  RETURN true;
END $$;

-- the months of events that have no partition of their own
CREATE FUNCTION metering_months_in_default() RETURNS SETOF date
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date
  FROM metering_usageevent_default
$$;

-- drop a month's events; false if there is no such partition, or one of them is not rolled up yet
CREATE FUNCTION metering_drop_partition(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  name text := 'metering_usageevent_' || to_char(month, 'YYYYMM');
  waiting boolean;
BEGIN
  IF to_regclass(name) IS NULL
     OR EXISTS (SELECT FROM metering_rollupposition WHERE NOT caught_up) THEN
    RETURN false;
  END IF;
  EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', name);
  EXECUTE format('SELECT EXISTS (SELECT FROM %I e, metering_rollupfrontier f
                                 WHERE e.ingest_xid >= f.below_xid::text::xid8)', name)
    INTO waiting;
  IF waiting THEN
    RETURN false;
  END IF;
  EXECUTE format('DROP TABLE %I', name);
  RETURN true;
END $$;
"""

PARTITIONS_BACK = """
DROP FUNCTION metering_drop_partition, metering_months_in_default;
"""

# One pass over new events serves all tenants; the rows that come of it carry their events' tenant.
ROLLING_UP = """
-- where the reader stands, how far it may go, whether there is anything to read on the way, and
-- behind which transaction so many events would have been read
CREATE FUNCTION metering_horizon(
  chunk int, OUT first bigint, OUT below bigint, OUT is_any boolean, OUT bound bigint
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT f.below_xid, h.xid::text::bigint,
         EXISTS (SELECT FROM metering_usageevent e
                 WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid),
         (SELECT e.ingest_xid::text::bigint + 1 FROM metering_usageevent e
          WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid
          ORDER BY e.ingest_xid LIMIT 1 OFFSET chunk)
  FROM metering_rollupfrontier f, (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid) AS h
$$;

-- versions of meters that have not been told of all earlier events
CREATE FUNCTION metering_versions_behind() RETURNS TABLE (of_tenant uuid, of_version uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id, meter_version_id FROM metering_rollupposition WHERE NOT caught_up
$$;

-- add to the rollups what metering_buckets finds
CREATE FUNCTION metering_add(
  first xid8, below xid8, of_version uuid, of_customers uuid[], since timestamptz
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
BEGIN
  INSERT INTO metering_usagerollup AS r
    (meter_version_id, tenant_id, customer_id, subscription_id, grain, starts_at, "group",
     group_hash, count, total, moment, low, high, last_at, last_seq, last_value)
  SELECT b.meter_version_id, b.tenant_id, b.customer_id, b.subscription_id, b.grain, b.starts_at,
         b."group", md5(b."group")::uuid, b.count, b.total, b.moment, b.low, b.high, b.last_at,
         b.last[2], b.last[3]
  FROM metering_buckets(first, below, of_version, of_customers, since) AS b
  ORDER BY b.customer_id, b.meter_version_id, b.grain, b.starts_at
  ON CONFLICT (customer_id, meter_version_id, grain, starts_at, subscription_id, group_hash)
  DO UPDATE SET
    count = r.count + excluded.count, total = r.total + excluded.total,
    moment = r.moment + excluded.moment, low = least(r.low, excluded.low),
    high = greatest(r.high, excluded.high),
    last_value = CASE WHEN (excluded.last_at, excluded.last_seq) > (r.last_at, r.last_seq)
                      THEN excluded.last_value ELSE r.last_value END,
    last_seq = CASE WHEN (excluded.last_at, excluded.last_seq) > (r.last_at, r.last_seq)
                    THEN excluded.last_seq ELSE r.last_seq END,
    last_at = greatest(r.last_at, excluded.last_at);
END $$;

-- mark the customers whose usage that changed; return how often events were counted
CREATE FUNCTION metering_mark(first xid8, below xid8, of_version uuid, of_customers uuid[])
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  counted bigint;
BEGIN
  WITH changed AS (
    SELECT e.customer_id, e.tenant_id, min(e.occurred_at) AS since, count(*) AS count
    FROM metering_countedevent e
    JOIN metering_rollupposition p ON p.meter_version_id = e.meter_version_id
    WHERE e.ingest_xid >= first AND e.ingest_xid < below
      AND (e.meter_version_id = of_version OR (of_version IS NULL AND p.caught_up))
      AND (of_customers IS NULL OR e.customer_id = ANY (of_customers))
    GROUP BY 1, 2
  ), marked AS (
    INSERT INTO metering_changedusage AS c (customer_id, tenant_id, since, mark)
    SELECT ch.customer_id, ch.tenant_id, ch.since, nextval('metering_changedusage_mark')
    FROM changed ch ORDER BY ch.customer_id
    ON CONFLICT (customer_id) DO UPDATE
    SET since = least(c.since, excluded.since), mark = excluded.mark
  )
  SELECT coalesce(sum(changed.count), 0)::bigint INTO counted FROM changed;
  RETURN counted;
END $$;
"""

ROLLING_UP_BACK = """
DROP FUNCTION metering_mark, metering_add, metering_versions_behind, metering_horizon;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("metering", "0003_storing")]
    operations = [
        migrations.RunSQL(ISOLATION, ISOLATION_BACK),
        migrations.RunSQL(PARTITIONS, PARTITIONS_BACK),
        migrations.RunSQL(ROLLING_UP, ROLLING_UP_BACK),
    ]
