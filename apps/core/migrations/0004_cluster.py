"""The numbers under which transactions are remembered, in whatever cluster; see docs/adr/0012."""

from django.db import migrations

FORWARD = """
-- The number under which a transaction of this cluster is remembered: its own, until core_count_on
-- says otherwise. Inlined into whatever asks, and plans that hold it are made anew when it changes.
CREATE FUNCTION core_number(xid xid8) RETURNS xid8
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT xid $$;

-- pg_current_snapshot() in those numbers
CREATE FUNCTION core_snapshot() RETURNS pg_snapshot
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT pg_current_snapshot() $$;

-- is this one that no transaction has been given yet? Nothing remembered may be.
CREATE FUNCTION core_is_to_come(number bigint) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT number > core_number(pg_snapshot_xmax(pg_current_snapshot()))::text::bigint
$$;

-- the number below which a reader has read all, unless it is to come: what would get a lower one now
-- would never be read
CREATE FUNCTION core_counted(number bigint) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
  IF core_is_to_come(number) THEN
    RAISE EXCEPTION 'all below transaction % has been read, but this cluster has counted to % only: a'
      ' dump was restored into it; run manage.py adopt_cluster', number,
      core_number(pg_snapshot_xmax(pg_current_snapshot()))
      USING errcode = 'object_not_in_prerequisite_state';
  END IF;
  RETURN number;
END $$;

-- let all transactions to come be remembered under numbers that are so much larger than their own
CREATE FUNCTION core_count_on(ahead bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION core_number(xid xid8) RETURNS xid8
                  LANGUAGE sql STABLE PARALLEL SAFE AS
                  ''SELECT (xid::text::bigint + %s)::text::xid8''', ahead);
  CREATE OR REPLACE FUNCTION core_snapshot() RETURNS pg_snapshot
  LANGUAGE sql STABLE PARALLEL SAFE AS $snapshot$
    SELECT format('%s:%s:%s', core_number(pg_snapshot_xmin(s.now)),
                  core_number(pg_snapshot_xmax(s.now)),
                  (SELECT string_agg(core_number(x.xid)::text, ',' ORDER BY x.xid)
                   FROM pg_snapshot_xip(s.now) AS x(xid)))::pg_snapshot
    FROM pg_current_snapshot() AS s(now)
  $snapshot$;
END $$;
"""
BACKWARD = """
DROP FUNCTION core_count_on, core_counted, core_is_to_come, core_snapshot, core_number;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
