"""Row security, and what core does across tenants as the owner of its tables; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
-- what refers to a row of a tenant is of the same tenant: the foreign keys of the table name both
CREATE FUNCTION refer_within_tenant(target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  old record;
BEGIN
  FOR old IN
    SELECT c.conname AS name, c.confrelid::regclass AS referred, mine.attname AS col,
           theirs.attname AS key, own.attnum AS theirs_tenant, theirs.attnum AS theirs_key,
           EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = c.conrelid AND n.contype = 'f'
                   AND cardinality(n.conkey) = 2 AND n.conkey @> c.conkey
                   AND n.confrelid = c.confrelid) AS is_done
    FROM pg_constraint c
    JOIN pg_attribute mine ON mine.attrelid = c.conrelid AND mine.attnum = c.conkey[1]
    JOIN pg_attribute theirs ON theirs.attrelid = c.confrelid AND theirs.attnum = c.confkey[1]
    JOIN pg_attribute own ON own.attrelid = c.confrelid AND own.attname = 'tenant_id'
    WHERE c.conrelid = target AND c.contype = 'f' AND cardinality(c.conkey) = 1
      AND theirs.attname <> 'tenant_id'
    ORDER BY c.conname
  LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', target, old.name);
    CONTINUE WHEN old.is_done;
    IF NOT EXISTS (SELECT FROM pg_constraint u
                   WHERE u.conrelid = old.referred AND u.contype IN ('p', 'u')
                     AND u.conkey = ARRAY[old.theirs_tenant, old.theirs_key]) THEN
      EXECUTE format('ALTER TABLE %s ADD UNIQUE (tenant_id, %I)', old.referred, old.key);
    END IF;
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (tenant_id, %I)
                    REFERENCES %s (tenant_id, %I) DEFERRABLE INITIALLY DEFERRED',
                   target, old.name, old.col, old.referred, old.key);
  END LOOP;
END $$;

-- rows of the table, which has a tenant_id, are seen and written only in the scope of their tenant,
-- and refer only to rows of his; once more after a foreign key has been added
CREATE FUNCTION isolate(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM refer_within_tenant(target);
  IF EXISTS (SELECT FROM pg_policy WHERE polrelid = target) THEN
    RETURN;
  END IF;
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
  -- in a subquery it is computed once for a statement, not for every row
  EXECUTE format('CREATE POLICY own_tenant ON %s USING
    (tenant_id = (SELECT nullif(current_setting(''app.tenant_id'', true), '''')::uuid))', target);
END $$;

-- the contrary
CREATE FUNCTION join_tenants(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('DROP POLICY own_tenant ON %s', target);
  EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', target);
  EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', target);
END $$;

-- what a trigger looks at when a transaction ends, in whatever scope that is, it sees all of
CREATE FUNCTION let_see_all(trigger_function regprocedure) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = public, pg_temp',
                 trigger_function);
END $$;

SELECT isolate(one) FROM unnest(ARRAY[
  'core_auditevent',
  'core_auditpending',
  'core_auditseal',
  'core_audithead',
  'core_job',
  'core_idempotencyrecord'
]::regclass[]) AS one;

-- tenants that have audit events without a seal
CREATE FUNCTION core_tenants_to_seal() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT tenant_id FROM core_auditpending
$$;

-- tenants whose audit events have been sealed
CREATE FUNCTION core_tenants_with_chain() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id FROM core_audithead UNION SELECT tenant_id FROM core_auditseal
$$;

-- is there an audit event with a lower id that has no seal?
CREATE FUNCTION core_is_unsealed_before(first uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT EXISTS (SELECT FROM core_auditpending WHERE event_id < first)
$$;

-- claim the next due job, of all or of one tenant, that nobody else holds
CREATE FUNCTION core_claim_job(
  lease interval, of_tenant uuid, but text, OUT job_id uuid, OUT of_job_tenant uuid
) LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE core_job SET state = 'running', attempts = attempts + 1,
         lease_until = clock_timestamp() + lease
  WHERE id = (
    SELECT j.id FROM core_job j LEFT JOIN core_job before ON before.id = j.after_id
    WHERE ((j.state = 'pending' AND j.due_at <= clock_timestamp())
        OR (j.state = 'running' AND j.lease_until < clock_timestamp()))
      AND (before.id IS NULL OR before.state IN ('done', 'dead'))
      AND (of_tenant IS NULL OR j.tenant_id = of_tenant) AND j.name <> but
    ORDER BY j.due_at, j.id LIMIT 1 FOR UPDATE OF j SKIP LOCKED)
  RETURNING id, tenant_id
$$;

-- open jobs that somebody should have taken before an instant: due, or abandoned by their worker
CREATE FUNCTION core_stalled_jobs(since timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT j.id FROM core_job j LEFT JOIN core_job before ON before.id = j.after_id
  WHERE (j.state = 'pending' AND j.due_at < since
         AND (before.id IS NULL OR before.ended_at < since))
     OR (j.state = 'running' AND j.lease_until < since)
  LIMIT 100
$$;
"""
BACKWARD = """
DROP FUNCTION core_stalled_jobs, core_claim_job, core_is_unsealed_before,
              core_tenants_with_chain, core_tenants_to_seal;
SELECT join_tenants(one) FROM unnest(ARRAY[
  'core_auditevent',
  'core_auditpending',
  'core_auditseal',
  'core_audithead',
  'core_job',
  'core_idempotencyrecord'
]::regclass[]) AS one;
DROP FUNCTION let_see_all, join_tenants, isolate, refer_within_tenant;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0002_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
