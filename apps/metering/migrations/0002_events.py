"""The events and their keys: partitioned, append-only tables; and how SQL looks at an event."""

from django.db import migrations

TABLES = """
CREATE SEQUENCE metering_usageevent_seq;
CREATE TABLE metering_usageevent (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,                 -- first 16 bytes of SHA-256(tenant_id || key)
  customer_id uuid NOT NULL,
  subscription_id uuid,             -- set where the event named a subscription
  event_name text NOT NULL,
  occurred_at timestamptz NOT NULL,
  value numeric,
  properties jsonb NOT NULL,
  key text NOT NULL,
  received_at timestamptz NOT NULL,
  seq bigint NOT NULL DEFAULT nextval('metering_usageevent_seq'),   -- the order of arrival
  ingest_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  CONSTRAINT value_finite CHECK (value > '-Infinity' AND value < 'Infinity')
) PARTITION BY RANGE (occurred_at);
ALTER SEQUENCE metering_usageevent_seq OWNED BY metering_usageevent.seq;
CREATE TABLE metering_usageevent_default PARTITION OF metering_usageevent DEFAULT;
-- for reading a customer's usage, and for reading what came since
CREATE INDEX usage_by_customer ON metering_usageevent (customer_id, event_name, occurred_at);
CREATE INDEX usage_by_transaction ON metering_usageevent (ingest_xid);
SELECT make_append_only('metering_usageevent');

-- for ever: what makes a key once a key once, also after its event has been dropped
CREATE TABLE metering_usageeventkey (
  id uuid PRIMARY KEY,
  fingerprint uuid NOT NULL,        -- of the payload that was accepted
  occurred_at timestamptz NOT NULL
) PARTITION BY HASH (id);
DO $$
BEGIN
  FOR remainder IN 0..15 LOOP
    EXECUTE format('CREATE TABLE metering_usageeventkey_%s PARTITION OF metering_usageeventkey
                    FOR VALUES WITH (MODULUS 16, REMAINDER %s)', remainder, remainder);
  END LOOP;
END $$;
SELECT make_append_only('metering_usageeventkey');

-- a UUIDv7, for orphans: milliseconds, then their fraction, so that ids ascend as they are made
CREATE FUNCTION metering_new_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
  SELECT (lpad(to_hex(micros / 1000), 12, '0') || '7'
          || lpad(to_hex(micros % 1000 * 4096 / 1000), 3, '0')
          || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid
  FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros) AS now
$$;

CREATE SEQUENCE metering_changedusage_mark;
SELECT refuse_nan('metering_meterversion');
SELECT refuse_nan('metering_orphanevent');
SELECT refuse_nan('metering_usagerollup');
SELECT make_append_only('metering_meterversion');
"""

TABLES_BACK = """
DROP TRIGGER append_only ON metering_meterversion;
DROP TRIGGER no_truncate ON metering_meterversion;
DROP SEQUENCE metering_changedusage_mark;
DROP FUNCTION metering_new_id;
DROP TABLE metering_usageeventkey;
DROP TABLE metering_usageevent;
"""

# Each has a twin in Python: rating.decimals.parse_decimal, rating.filters.matches.
FUNCTIONS = r"""
-- a JSON number of any size, or a text in decimal digits, as a number; null for anything else
CREATE FUNCTION metering_size(found jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE jsonb_typeof(found)
    WHEN 'number' THEN (found #>> '{}')::numeric
    WHEN 'string' THEN CASE WHEN found #>> '{}' ~ '^-?[0-9]{1,20}(\.[0-9]{1,12})?$'
                            THEN (found #>> '{}')::numeric END
  END
$$;

-- the same, as long as it has no more digits than a value may have
CREATE FUNCTION metering_number(found jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE jsonb_typeof(found)
    WHEN 'number' THEN CASE WHEN abs((found #>> '{}')::numeric) < 1e20
                             AND scale((found #>> '{}')::numeric) <= 12
                            THEN (found #>> '{}')::numeric END
    WHEN 'string' THEN CASE WHEN found #>> '{}' ~ '^-?[0-9]{1,20}(\.[0-9]{1,12})?$'
                            THEN (found #>> '{}')::numeric END
  END
$$;

-- a property as the text by which usage is grouped or told apart; null where there is none
CREATE FUNCTION metering_text(found jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE jsonb_typeof(found)
    WHEN 'number' THEN trim_scale((found #>> '{}')::numeric)::text
    ELSE found #>> '{}'
  END
$$;

-- JSON array: the price point ("" for none), then the values of the properties
CREATE FUNCTION metering_group(group_by text[], properties jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (jsonb_build_array(coalesce(metering_text(properties -> 'price_point'), ''))
          || coalesce((SELECT jsonb_agg(metering_text(properties -> name) ORDER BY place)
                       FROM unnest(group_by) WITH ORDINALITY AS g(name, place)), '[]'))::text
$$;

-- wanted: a string, a boolean, or {"number": digits}
CREATE FUNCTION metering_equal(found jsonb, wanted jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(CASE
    WHEN jsonb_typeof(found) = 'boolean' OR jsonb_typeof(wanted) = 'boolean' THEN found = wanted
    WHEN jsonb_typeof(found) = 'string' AND jsonb_typeof(wanted) = 'string' THEN found = wanted
    WHEN jsonb_typeof(wanted) = 'object'
      THEN metering_size(found) = (wanted ->> 'number')::numeric
    ELSE metering_size(found) = metering_size(wanted)
  END, false)
$$;

-- does an event with these properties meet every condition?
CREATE FUNCTION metering_matches(filters jsonb, properties jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  condition jsonb;
  found jsonb;
  wanted jsonb;
  met boolean;
BEGIN
  FOR condition IN SELECT * FROM jsonb_array_elements(filters) LOOP
    found := properties -> (condition ->> 'property');
    wanted := condition -> 'value';
    CASE condition ->> 'op'
      WHEN 'exists' THEN
        met := (coalesce(jsonb_typeof(found), 'null') <> 'null') = wanted::boolean;
      WHEN 'eq' THEN met := metering_equal(found, wanted);
      WHEN 'ne' THEN met := NOT metering_equal(found, wanted);
      WHEN 'in' THEN
        met := EXISTS (SELECT FROM jsonb_array_elements(wanted) AS w(one)
                       WHERE metering_equal(found, one));
      WHEN 'gt' THEN met := metering_size(found) > (wanted ->> 'number')::numeric;
      WHEN 'gte' THEN met := metering_size(found) >= (wanted ->> 'number')::numeric;
      WHEN 'lt' THEN met := metering_size(found) < (wanted ->> 'number')::numeric;
      WHEN 'lte' THEN met := metering_size(found) <= (wanted ->> 'number')::numeric;
    END CASE;
    IF met IS NOT TRUE THEN
      RETURN false;
    END IF;
  END LOOP;
  RETURN true;
END $$;
"""

FUNCTIONS_BACK = """
DROP FUNCTION metering_matches, metering_equal, metering_group, metering_text, metering_number,
              metering_size;
"""

VIEWS = """
-- what a version of a meter sees in an event, given parts of both: no row if it does not count it
CREATE FUNCTION metering_seen(
  aggregation text, value_property text, group_by text[], filters jsonb, value numeric,
  properties jsonb
) RETURNS TABLE (counted numeric, item text, "group" text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1 AS $$
  SELECT x.counted, seen.item,
         CASE WHEN cardinality(group_by) = 0 AND NOT properties ? 'price_point' THEN '[""]'
              ELSE metering_group(group_by, properties) END
  FROM (
    SELECT CASE WHEN value_property = '' THEN value
                ELSE metering_number(properties -> value_property) END AS number,
           CASE WHEN aggregation <> 'unique_count' THEN NULL
                WHEN value_property = '' THEN trim_scale(value)::text
                ELSE metering_text(properties -> value_property) END AS item
  ) AS seen
  CROSS JOIN LATERAL (
    -- what a unique count tells apart are names, be they in digits: no amounts
    SELECT CASE aggregation WHEN 'unique_count' THEN 0 WHEN 'count' THEN coalesce(seen.number, 0)
                ELSE seen.number END AS counted
  ) AS x
  WHERE x.counted IS NOT NULL AND (aggregation <> 'unique_count' OR seen.item IS NOT NULL)
    AND (filters = '[]' OR metering_matches(filters, properties))
$$;

-- each event as each version of a meter sees it, if it counts it at all
CREATE VIEW metering_countedevent AS
SELECT v.id AS meter_version_id, v.aggregation, e.tenant_id, e.customer_id, e.subscription_id,
       e.event_name, e.occurred_at, e.received_at, e.key, e.value, e.properties, e.seq,
       e.ingest_xid, s.counted, s.item, s."group", extract(epoch FROM e.occurred_at) AS epoch
FROM metering_meterversion v
JOIN metering_usageevent e ON e.tenant_id = v.tenant_id AND e.event_name = v.event_name
CROSS JOIN LATERAL metering_seen(v.aggregation, v.value_property, v.group_by::text[], v.filters,
                                 e.value, e.properties) AS s;

-- scope 0: all usage of a customer; 1: that of a subscription; 2: and what names none
CREATE FUNCTION metering_in_scope(scope int, wanted uuid, found uuid) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT scope = 0 OR found = wanted OR (scope = 2 AND found IS NULL)
$$;

-- was what this transaction stored visible in the snapshot? Without one: yes. To the caller's own
-- transaction its own events are, though its snapshots do not say so.
CREATE FUNCTION metering_visible(xid xid8, snapshot pg_snapshot) RETURNS boolean
LANGUAGE sql STABLE PARALLEL RESTRICTED AS $$
  SELECT snapshot IS NULL OR pg_visible_in_snapshot(xid, snapshot)
         OR xid = pg_current_xact_id_if_assigned()
$$;

-- whom an event names: at most one row. A subscription first, an id before an external id; the
-- parts of a UNION ALL are tried in their order.
CREATE FUNCTION metering_subject(
  of_tenant uuid, of_kind text, of_name text, of_customer uuid, of_subscription uuid
) RETURNS TABLE (
  customer_id uuid, subscription_id uuid, opens_at timestamptz, closes_at timestamptz
) LANGUAGE sql STABLE ROWS 1 AS $$
  SELECT s.customer_id, s.subscription_id, s.opens_at, s.closes_at FROM metering_usagesubject s
  WHERE s.subscription_id = of_subscription AND s.tenant_id = of_tenant
  UNION ALL
  SELECT s.customer_id, s.subscription_id, s.opens_at, s.closes_at FROM metering_usagesubject s
  WHERE of_kind <> 'customer' AND s.tenant_id = of_tenant AND s.external_id = of_name
  UNION ALL
  SELECT c.id, NULL, NULL, NULL FROM customers_customer c
  WHERE c.id = of_customer AND c.tenant_id = of_tenant
  UNION ALL
  SELECT c.id, NULL, NULL, NULL FROM customers_customer c
  WHERE of_kind <> 'subscription' AND c.tenant_id = of_tenant AND c.external_id = of_name
  LIMIT 1
$$;

-- what events of transactions in [first, below) add to the rollups: of one version, or of all that
-- have caught up; of some customers, or of all; of one instant on, or of all times
CREATE FUNCTION metering_buckets(
  first xid8, below xid8, of_version uuid, of_customers uuid[], since timestamptz
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
      AND e.aggregation NOT IN ('unique_count', 'percentile')
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

INSERT INTO metering_rollupfrontier (id, below_xid) VALUES (1, 0);
"""

VIEWS_BACK = """
DROP FUNCTION metering_buckets, metering_subject;
DROP FUNCTION metering_visible, metering_in_scope;
DROP VIEW metering_countedevent;
DROP FUNCTION metering_seen;
"""

PARTITIONS = """
-- make the partition of a month, taking over what the default partition holds of it; false if
-- there is one already
CREATE FUNCTION metering_make_partition(month date) RETURNS boolean LANGUAGE plpgsql AS $$
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
  IF NOT EXISTS (SELECT FROM metering_usageevent_default
                 WHERE occurred_at >= begins AND occurred_at < ends) THEN
    EXECUTE format('CREATE TABLE %I PARTITION OF metering_usageevent %s', name, bounds);
    RETURN true;
  END IF;
  ALTER TABLE metering_usageevent DETACH PARTITION metering_usageevent_default;
  ALTER TABLE metering_usageevent_default RENAME TO metering_usageevent_moving;
  EXECUTE format('CREATE TABLE %I PARTITION OF metering_usageevent %s', name, bounds);
  CREATE TABLE metering_usageevent_default PARTITION OF metering_usageevent DEFAULT;
  INSERT INTO metering_usageevent SELECT * FROM metering_usageevent_moving;
  DROP TABLE metering_usageevent_moving;
  RETURN true;
END $$;

SELECT metering_make_partition((date_trunc('month', now()) + make_interval(months => m))::date)
FROM generate_series(-13, 3) AS m;
"""

PARTITIONS_BACK = "DROP FUNCTION metering_make_partition"


class Migration(migrations.Migration):
    dependencies = [("core", "0002_guards"), ("metering", "0001_initial")]
    operations = [
        migrations.RunSQL(TABLES, TABLES_BACK),
        migrations.RunSQL(FUNCTIONS, FUNCTIONS_BACK),
        migrations.RunSQL(VIEWS, VIEWS_BACK),
        migrations.RunSQL(PARTITIONS, PARTITIONS_BACK),
    ]
