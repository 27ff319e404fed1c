"""The segments of a subscription itself tile its time; those of its add-ons lie beside them."""

from django.db import migrations

FORWARD = """
CREATE OR REPLACE FUNCTION subscriptions_check_tiles(owner uuid) RETURNS void LANGUAGE plpgsql AS $$
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
        FROM subscriptions_subscriptionsegment
        WHERE subscription_id = owner AND add_on_id IS NULL
        WINDOW following AS (ORDER BY starts_at)) AS laid;
  IF tiles.number = 0 AND ended IS NOT DISTINCT FROM began THEN
    RETURN;  -- canceled before it began
  END IF;
  IF tiles.number = 0 OR NOT tiles.joined OR NOT tiles.complete THEN
    RAISE EXCEPTION 'the segments of subscription % do not tile its time', owner
      USING errcode = '23514', constraint = 'segments_tile';
  END IF;
END $$;

SELECT refer_within_tenant('subscriptions_subscriptionsegment');
"""
BACKWARD = """
CREATE OR REPLACE FUNCTION subscriptions_check_tiles(owner uuid) RETURNS void LANGUAGE plpgsql AS $$
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
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0006_add_ons")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
