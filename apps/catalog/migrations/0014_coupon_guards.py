"""Rules of the database: what a coupon takes off never changes, and redemptions only count up."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('catalog_coupon');
SELECT isolate('catalog_coupon');

CREATE FUNCTION catalog_keep_coupon() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE moving CONSTANT text[] := '{name,redeemed,archived_at}';
BEGIN
  IF to_jsonb(OLD) - moving <> to_jsonb(NEW) - moving OR NEW.redeemed < OLD.redeemed
     OR (OLD.archived_at IS NOT NULL AND NEW.archived_at IS DISTINCT FROM OLD.archived_at) THEN
    RAISE EXCEPTION 'what a coupon takes off never changes'
      USING errcode = '23514', constraint = 'coupon_kept';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER coupon_kept BEFORE UPDATE ON catalog_coupon
  FOR EACH ROW EXECUTE FUNCTION catalog_keep_coupon();
"""
BACKWARD = """
DROP TRIGGER coupon_kept ON catalog_coupon;
DROP FUNCTION catalog_keep_coupon;
SELECT join_tenants('catalog_coupon');
ALTER TABLE catalog_coupon DROP CONSTRAINT not_nan_percentage;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("catalog", "0013_coupons")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
