"""Rules of the database: a redemption stays as it is, but may end sooner."""

from django.db import migrations

FORWARD = """
SELECT isolate('subscriptions_couponredemption');

CREATE FUNCTION subscriptions_keep_redemption() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_op = 'DELETE' OR to_jsonb(OLD) - 'ends_at' <> to_jsonb(NEW) - 'ends_at'
     OR NEW.ends_at IS NULL OR NEW.ends_at > OLD.ends_at THEN
    RAISE EXCEPTION 'a redeemed coupon may only end sooner'
      USING errcode = '23514', constraint = 'redemption_kept';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER redemption_kept BEFORE UPDATE OR DELETE ON subscriptions_couponredemption
  FOR EACH ROW EXECUTE FUNCTION subscriptions_keep_redemption();
"""
BACKWARD = """
DROP TRIGGER redemption_kept ON subscriptions_couponredemption;
DROP FUNCTION subscriptions_keep_redemption;
SELECT join_tenants('subscriptions_couponredemption');
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("subscriptions", "0008_coupon_redemptions")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
