"""Rules of the database: segments tile a subscription's time; its grid and its past stay."""

from django.db import migrations

FORWARD = """
-- The segments of a subscription follow each other from its start to its end without gap or overlap.
-- Looked at when the transaction commits; the row lock makes concurrent writers take turns.
CREATE FUNCTION subscriptions_check_tiles(owner uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  began timestamptz;
  ended timestamptz;
  tiles record;
BEGIN
  SELECT started_at, ends_at INTO began, ended
  FROM subscriptions_subscription WHERE id = owner FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT count(*) AS number,
         bool_and(CASE WHEN place = 1 THEN starts_at = began
                       ELSE starts_at IS NOT DISTINCT FROM before END) AS joined,
         bool_or(place = number AND ends_at IS NOT DISTINCT FROM ended) AS complete
  INTO tiles
  FROM (SELECT starts_at, ends_at, lag(ends_at) OVER following AS before,
               row_number() OVER following AS place, count(*) OVER () AS number
        FROM subscriptions_subscriptionsegment WHERE subscription_id = owner
        WINDOW following AS (ORDER BY starts_at)) AS laid;
  IF tiles.number = 0 AND ended IS NOT DISTINCT FROM began THEN
    RETURN;  -- canceled before it began
  END IF;
  IF tiles.number = 0 OR NOT tiles.joined OR NOT tiles.complete THEN
    RAISE EXCEPTION 'the segments of subscription % do not tile its time', owner
      USING errcode = '23514', constraint = 'segments_tile';
  END IF;
END $$;

CREATE FUNCTION subscriptions_segments_tile() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_table_name = 'subscriptions_subscription' THEN
    PERFORM subscriptions_check_tiles(NEW.id);
    RETURN NULL;
  END IF;
  IF tg_op <> 'DELETE' THEN
    PERFORM subscriptions_check_tiles(NEW.subscription_id);
  END IF;
  IF tg_op = 'DELETE' OR (tg_op = 'UPDATE' AND OLD.subscription_id <> NEW.subscription_id) THEN
    PERFORM subscriptions_check_tiles(OLD.subscription_id);
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER segments_tile AFTER INSERT OR UPDATE OR DELETE
  ON subscriptions_subscriptionsegment DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION subscriptions_segments_tile();
CREATE CONSTRAINT TRIGGER segments_tile_at_first AFTER INSERT
  ON subscriptions_subscription DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION subscriptions_segments_tile();
CREATE CONSTRAINT TRIGGER segments_tile AFTER UPDATE
  ON subscriptions_subscription DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW
  WHEN (OLD.started_at IS DISTINCT FROM NEW.started_at OR OLD.ends_at IS DISTINCT FROM NEW.ends_at)
  EXECUTE FUNCTION subscriptions_segments_tile();

-- What billing periods are computed from never changes; nor does a status go back.
CREATE FUNCTION subscriptions_keep_grid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (OLD.tenant_id, OLD.customer_id, OLD.currency, OLD.zone, OLD.alignment, OLD.anchor_day,
      OLD.started_at, OLD.first_version_id, OLD.first_price_list_id, OLD.first_quantity,
      OLD.trial_days)
     IS DISTINCT FROM
     (NEW.tenant_id, NEW.customer_id, NEW.currency, NEW.zone, NEW.alignment, NEW.anchor_day,
      NEW.started_at, NEW.first_version_id, NEW.first_price_list_id, NEW.first_quantity,
      NEW.trial_days)
  THEN
    RAISE EXCEPTION 'customer, currency, zone, alignment, anchor and opening terms stay'
      USING errcode = '23514', constraint = 'subscription_grid_stays';
  END IF;
  IF NEW.status <> OLD.status
     AND (OLD.status = 'ended' OR NEW.status = 'scheduled')
  THEN
    RAISE EXCEPTION 'a subscription that is % does not become %', OLD.status, NEW.status
      USING errcode = '23514', constraint = 'subscription_status_moves_on';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER grid_stays BEFORE UPDATE ON subscriptions_subscription
  FOR EACH ROW EXECUTE FUNCTION subscriptions_keep_grid();

CREATE FUNCTION subscriptions_change_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status = 'pending' THEN
    RETURN NEW;
  END IF;
  IF OLD.status = 'applied' AND NEW.status = 'undone'
     AND (OLD.subscription_id, OLD.verb, OLD.effective_at, OLD.arguments, OLD.created_at)
         IS NOT DISTINCT FROM
         (NEW.subscription_id, NEW.verb, NEW.effective_at, NEW.arguments, NEW.created_at)
  THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a change that was % stays so', OLD.status
    USING errcode = '23514', constraint = 'change_settled_once';
END $$;
CREATE TRIGGER settled_once BEFORE UPDATE ON subscriptions_scheduledchange
  FOR EACH ROW EXECUTE FUNCTION subscriptions_change_once();

ALTER TABLE subscriptions_subscription ADD CONSTRAINT subscription_status_known
  CHECK (status IN ('scheduled', 'active', 'paused', 'suspended', 'ended'));
ALTER TABLE subscriptions_scheduledchange ADD CONSTRAINT change_status_known
  CHECK (status IN ('pending', 'applied', 'withdrawn', 'undone'));
ALTER TABLE subscriptions_subscriptionsegment ADD CONSTRAINT segment_phase_of_version
  FOREIGN KEY (plan_version_id, phase_id) REFERENCES catalog_phase (version_id, id)
  DEFERRABLE INITIALLY DEFERRED;
SELECT refuse_nan('subscriptions_subscription');
SELECT refuse_nan('subscriptions_subscriptionsegment');
"""
BACKWARD = """
ALTER TABLE subscriptions_subscriptionsegment DROP CONSTRAINT not_nan_quantity;
ALTER TABLE subscriptions_subscription
  DROP CONSTRAINT not_nan_quantity, DROP CONSTRAINT not_nan_first_quantity;
ALTER TABLE subscriptions_subscriptionsegment DROP CONSTRAINT segment_phase_of_version;
ALTER TABLE subscriptions_scheduledchange DROP CONSTRAINT change_status_known;
ALTER TABLE subscriptions_subscription DROP CONSTRAINT subscription_status_known;
DROP TRIGGER settled_once ON subscriptions_scheduledchange;
DROP TRIGGER grid_stays ON subscriptions_subscription;
DROP TRIGGER segments_tile ON subscriptions_subscription;
DROP TRIGGER segments_tile_at_first ON subscriptions_subscription;
DROP TRIGGER segments_tile ON subscriptions_subscriptionsegment;
DROP FUNCTION subscriptions_change_once, subscriptions_keep_grid, subscriptions_segments_tile,
              subscriptions_check_tiles;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0001_initial"),
        ("catalog", "0004_guards"),
        ("core", "0002_guards"),
    ]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
