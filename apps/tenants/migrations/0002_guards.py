"""Rules of the database: twins, clocks and members of a company belong together."""

from django.db import migrations

FORWARD = """
ALTER TABLE tenants_testclock ADD CONSTRAINT clock_of_tenant UNIQUE (tenant_id, id);
ALTER TABLE tenants_tenant ADD CONSTRAINT tenant_on_own_clock
  FOREIGN KEY (id, test_clock_id) REFERENCES tenants_testclock (tenant_id, id);
ALTER TABLE tenants_tenant ADD CONSTRAINT tenant_currency_form CHECK (currency ~ '^[A-Z]{3}$');
ALTER TABLE tenants_tenant ADD CONSTRAINT tenant_durations_not_negative CHECK (
  grace_period >= interval '0' AND payment_term >= interval '0'
  AND event_max_age >= interval '0' AND event_max_ahead >= interval '0');

-- the twin has the other mode and the same slug, and this is its twin
CREATE FUNCTION check_twins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM tenants_tenant other
                 WHERE other.id = new.twin_id AND other.twin_id = new.id
                   AND other.slug = new.slug AND other.mode <> new.mode) THEN
    RAISE EXCEPTION 'tenant % and its twin do not match', new.id
      USING errcode = '23514', constraint = 'tenant_twins';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER tenant_twins AFTER INSERT OR UPDATE OF twin_id, slug, mode
  ON tenants_tenant DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION check_twins();

-- a test clock never goes back, and stays with its tenant
CREATE FUNCTION check_clock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF new.now < old.now OR new.tenant_id <> old.tenant_id THEN
    RAISE EXCEPTION 'a test clock only moves forward'
      USING errcode = '23514', constraint = 'clock_moves_forward';
  END IF;
  RETURN new;
END $$;
CREATE TRIGGER clock_moves_forward BEFORE UPDATE ON tenants_testclock
  FOR EACH ROW EXECUTE FUNCTION check_clock();
"""
BACKWARD = """
DROP TRIGGER clock_moves_forward ON tenants_testclock;
DROP TRIGGER tenant_twins ON tenants_tenant;
DROP FUNCTION check_clock, check_twins;
ALTER TABLE tenants_tenant DROP CONSTRAINT tenant_durations_not_negative;
ALTER TABLE tenants_tenant DROP CONSTRAINT tenant_currency_form;
ALTER TABLE tenants_tenant DROP CONSTRAINT tenant_on_own_clock;
ALTER TABLE tenants_testclock DROP CONSTRAINT clock_of_tenant;
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial"), ("core", "0002_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
