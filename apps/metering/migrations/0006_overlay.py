"""What amendments do to events, and readers that honour it."""

from django.db import migrations

TABLE = """
-- One row for each event that an amendment touches. An event counts as long as its signs sum to
-- zero: -1 takes it out, 1 lets it count again, 0 says that the amendment brought it in.
CREATE TABLE metering_eventeffect (
  number bigint GENERATED ALWAYS AS IDENTITY,   -- a tenant amends one after the other: their order
  tenant_id uuid NOT NULL,
  amendment_id uuid NOT NULL REFERENCES metering_eventamendment (id) DEFERRABLE INITIALLY DEFERRED,
  seq bigint NOT NULL,                          -- the event's
  sign smallint NOT NULL CONSTRAINT effect_sign_known CHECK (sign IN (-1, 0, 1)),
  event_id uuid NOT NULL,
  key text NOT NULL,
  customer_id uuid NOT NULL,
  subscription_id uuid,
  event_name text NOT NULL,
  occurred_at timestamptz NOT NULL,
  event_xid xid8 NOT NULL,                      -- of the transaction that stored the event
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (seq, amendment_id)
);
CREATE INDEX effects_of_amendment ON metering_eventeffect (amendment_id, number);
CREATE INDEX effects_by_transaction ON metering_eventeffect (xid);
CREATE INDEX effects_by_events_transaction ON metering_eventeffect (event_xid);
SELECT make_append_only('metering_eventeffect');
SELECT make_append_only('metering_eventamendment');
SELECT isolate('metering_eventamendment');
SELECT isolate('metering_eventeffect');

-- an event is found by when it happened: its key says that, and amendments ask for stretches of time
CREATE INDEX usage_by_time ON metering_usageevent USING brin (occurred_at) WITH (autosummarize = on);
"""

TABLE_BACK = """
DROP INDEX usage_by_time;
DROP TABLE metering_eventeffect;
DROP TRIGGER append_only ON metering_eventamendment;
DROP TRIGGER no_truncate ON metering_eventamendment;
SELECT join_tenants('metering_eventamendment');
"""

READING = """
-- what events of transactions in [first, below) add to the rollups, as far as amendments below that
-- let them count: of one version, or of all that have caught up; of some customers, or of all; of
-- some stretch of time, or of all times
DROP FUNCTION metering_buckets(xid8, xid8, uuid, uuid[], timestamptz);
CREATE FUNCTION metering_buckets(
  first xid8, below xid8, of_version uuid, of_customers uuid[], since timestamptz,
  until timestamptz DEFAULT NULL
) RETURNS TABLE (
  meter_version_id uuid, tenant_id uuid, customer_id uuid, subscription_id uuid, "group" text,
  grain text, starts_at timestamptz, count bigint, total numeric, moment numeric, low numeric,
  high numeric, last_at timestamptz, last numeric[]
) LANGUAGE sql STABLE AS $$
  WITH hours AS (
    SELECT e.meter_version_id, e.tenant_id, e.customer_id, e.subscription_id, e."group",
           date_bin('1 hour', e.occurred_at, '1970-01-01Z') AS hour, count(*) AS count,
           sum(e.counted) AS total, sum(e.counted * e.epoch) AS moment, min(e.counted) AS low,
           max(e.counted) AS high, max(e.occurred_at) AS last_at,
           max(ARRAY[e.epoch, e.seq, e.counted]) AS last
    FROM metering_countedevent e
    JOIN metering_rollupposition p ON p.meter_version_id = e.meter_version_id
    WHERE e.ingest_xid >= first AND e.ingest_xid < below
      AND (e.meter_version_id = of_version OR (of_version IS NULL AND p.caught_up))
      AND (of_customers IS NULL OR e.customer_id = ANY (of_customers))
      AND (since IS NULL OR e.occurred_at >= since)
      AND (until IS NULL OR e.occurred_at < until)
      AND e.aggregation NOT IN ('unique_count', 'percentile')
      AND CASE WHEN (SELECT EXISTS (SELECT FROM metering_eventeffect x
                                    WHERE x.event_xid >= first AND x.event_xid < below))
               THEN coalesce((SELECT sum(x.sign) FROM metering_eventeffect x
                              WHERE x.seq = e.seq AND x.xid < below), 0) = 0
               ELSE true END
    GROUP BY 1, 2, 3, 4, 5, 6
  )
  SELECT h.meter_version_id, h.tenant_id, h.customer_id, h.subscription_id, h."group", 'h', h.hour,
         h.count, h.total, h.moment, h.low, h.high, h.last_at, h.last
  FROM hours h
  UNION ALL
  SELECT h.meter_version_id, h.tenant_id, h.customer_id, h.subscription_id, h."group", 'd',
         date_bin('1 day', h.hour, '1970-01-01Z'), sum(h.count)::bigint, sum(h.total),
         sum(h.moment), min(h.low), max(h.high), max(h.last_at), max(h.last)
  FROM hours h
  GROUP BY 1, 2, 3, 4, 5, 7
$$;

-- where the reader stands, how far it may go, whether there is anything to read on the way, and
-- behind which transaction so many events would have been read
CREATE OR REPLACE FUNCTION metering_horizon(
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
  FROM metering_rollupfrontier f, (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid) AS h
$$;

-- count anew the days that amendments of transactions in [first, below) touched: of one version, or
-- of all that have caught up. Nothing can be taken out of a lowest, highest or latest value.
CREATE FUNCTION metering_remake(first xid8, below xid8, of_version uuid)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  touched record;
BEGIN
  FOR touched IN
    SELECT v.id AS version, date_bin('1 day', x.occurred_at, '1970-01-01Z') AS day,
           array_agg(DISTINCT x.customer_id) AS customers
    FROM metering_eventeffect x
    JOIN metering_meterversion v ON v.tenant_id = x.tenant_id AND v.event_name = x.event_name
    JOIN metering_rollupposition p ON p.meter_version_id = v.id
    WHERE x.xid >= first AND x.xid < below AND x.sign <> 0
      AND (v.id = of_version OR (of_version IS NULL AND p.caught_up))
      AND v.aggregation NOT IN ('unique_count', 'percentile')
    GROUP BY 1, 2
  LOOP
    DELETE FROM metering_usagerollup r
    WHERE r.meter_version_id = touched.version AND r.customer_id = ANY (touched.customers)
      AND r.starts_at >= touched.day AND r.starts_at < touched.day + interval '1 day';
    INSERT INTO metering_usagerollup
      (meter_version_id, tenant_id, customer_id, subscription_id, grain, starts_at, "group",
       group_hash, count, total, moment, low, high, last_at, last_seq, last_value)
    SELECT b.meter_version_id, b.tenant_id, b.customer_id, b.subscription_id, b.grain, b.starts_at,
           b."group", md5(b."group")::uuid, b.count, b.total, b.moment, b.low, b.high, b.last_at,
           b.last[2], b.last[3]
    FROM metering_buckets('0'::xid8, below, touched.version, touched.customers, touched.day,
                          touched.day + interval '1 day') AS b;
  END LOOP;
END $$;

-- drop a month's events; false if there is no such partition, or one of them, or what was amended
-- of them, is not rolled up yet
CREATE OR REPLACE FUNCTION metering_drop_partition(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  name text := 'metering_usageevent_' || to_char(month, 'YYYYMM');
  begins timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
  ends timestamptz := (date_trunc('month', month::timestamp) + interval '1 month')
                      AT TIME ZONE 'UTC';
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
  IF waiting OR EXISTS (SELECT FROM metering_eventeffect x, metering_rollupfrontier f
                        WHERE x.xid >= f.below_xid::text::xid8
                          AND x.occurred_at >= begins AND x.occurred_at < ends) THEN
    RETURN false;
  END IF;
  EXECUTE format('DROP TABLE %I', name);
  RETURN true;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("metering", "0005_amendments")]
    operations = [
        migrations.RunSQL(TABLE, TABLE_BACK),
        migrations.RunSQL(READING),
    ]
