"""What metering does across tenants, as the owner of its tables; see docs/adr/0007."""

from django.db import migrations

PARTITIONS = """
ALTER FUNCTION metering_make_partition(date) SECURITY DEFINER SET search_path = public, pg_temp;

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
ALTER FUNCTION metering_make_partition(date) SECURITY INVOKER RESET search_path;
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0003_storing")]
    operations = [migrations.RunSQL(PARTITIONS, PARTITIONS_BACK)]
