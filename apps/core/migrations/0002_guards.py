"""Rules of the database that every app uses: append-only tables, no NaN, the sealer's horizon."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', tg_table_name
    USING errcode = '23514', constraint = 'append_only';
END $$;

-- rows of the table are written once: no update, no delete, no truncate
CREATE FUNCTION make_append_only(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %s
                  FOR EACH ROW EXECUTE FUNCTION refuse_change()', target);
  EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %s
                  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', target);
END $$;

-- every numeric column of the table refuses NaN, which numeric(p,s) and CHECK (x >= 0) let pass
CREATE FUNCTION refuse_nan(target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE col name;
BEGIN
  FOR col IN SELECT attname FROM pg_attribute
             WHERE attrelid = target AND atttypid = 'numeric'::regtype AND attnum > 0
               AND NOT attisdropped
  LOOP
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%I <> ''NaN'')',
                   target, 'not_nan_' || col, col);
  END LOOP;
END $$;

-- what the sealer has yet to link, in the order of the transactions that wrote it
ALTER TABLE core_auditpending ADD COLUMN written_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX audit_pending_order ON core_auditpending (tenant_id, written_xid, event_id);
CREATE FUNCTION await_seal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO core_auditpending (event_id, tenant_id) SELECT id, tenant_id FROM written;
  RETURN NULL;
END $$;
CREATE TRIGGER await_seal AFTER INSERT ON core_auditevent REFERENCING NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION await_seal();

SELECT make_append_only('core_auditevent');
SELECT make_append_only('core_auditseal');
"""
BACKWARD = """
DROP TRIGGER await_seal ON core_auditevent;
DROP FUNCTION await_seal;
ALTER TABLE core_auditpending DROP COLUMN written_xid;
DROP TRIGGER append_only ON core_auditevent;
DROP TRIGGER no_truncate ON core_auditevent;
DROP TRIGGER append_only ON core_auditseal;
DROP TRIGGER no_truncate ON core_auditseal;
DROP FUNCTION refuse_nan, make_append_only, refuse_change;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
