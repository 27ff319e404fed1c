"""Rules of the database: what a contract says stays, but it may end sooner."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('subscriptions_contract');
SELECT isolate('subscriptions_contract');

CREATE FUNCTION subscriptions_keep_contract() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE moving CONSTANT text[] := '{name,documents,ends_at}';
BEGIN
  IF tg_op = 'DELETE' OR to_jsonb(OLD) - moving <> to_jsonb(NEW) - moving
     OR (NEW.ends_at IS NULL AND OLD.ends_at IS NOT NULL) OR NEW.ends_at > OLD.ends_at THEN
    RAISE EXCEPTION 'a contract stays as it is, and may only end sooner'
      USING errcode = '23514', constraint = 'contract_kept';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER contract_kept BEFORE UPDATE OR DELETE ON subscriptions_contract
  FOR EACH ROW EXECUTE FUNCTION subscriptions_keep_contract();
"""
BACKWARD = """
DROP TRIGGER contract_kept ON subscriptions_contract;
DROP FUNCTION subscriptions_keep_contract;
SELECT join_tenants('subscriptions_contract');
ALTER TABLE subscriptions_contract
  DROP CONSTRAINT not_nan_commitment, DROP CONSTRAINT not_nan_overage_factor;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("subscriptions", "0010_contracts")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
