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

ALTER TABLE core_auditevent ADD COLUMN written_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX audit_by_transaction ON core_auditevent (tenant_id, written_xid, id);
SELECT make_append_only('core_auditevent');
SELECT make_append_only('core_auditseal');
"""
BACKWARD = """
ALTER TABLE core_auditevent DROP COLUMN written_xid;
DROP TRIGGER append_only ON core_auditevent;
DROP TRIGGER no_truncate ON core_auditevent;
DROP TRIGGER append_only ON core_auditseal;
DROP TRIGGER no_truncate ON core_auditseal;
DROP FUNCTION refuse_nan, make_append_only, refuse_change;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
