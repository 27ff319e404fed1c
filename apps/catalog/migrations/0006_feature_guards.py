"""Rules of the database: what a published version grants never changes, nor what a feature is."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('catalog_phasefeature');

CREATE OR REPLACE FUNCTION catalog_version_of(part_table name, part jsonb) RETURNS uuid
LANGUAGE sql AS $$
  SELECT CASE part_table
    WHEN 'catalog_phase' THEN (part ->> 'version_id')::uuid
    WHEN 'catalog_charge' THEN
      (SELECT version_id FROM catalog_phase WHERE id = (part ->> 'phase_id')::uuid)
    WHEN 'catalog_phasefeature' THEN
      (SELECT version_id FROM catalog_phase WHERE id = (part ->> 'phase_id')::uuid)
    WHEN 'catalog_chargeprice' THEN
      (SELECT p.version_id FROM catalog_charge c JOIN catalog_phase p ON p.id = c.phase_id
       WHERE c.id = (part ->> 'charge_id')::uuid)
  END
$$;
CREATE TRIGGER published_is_frozen BEFORE INSERT OR UPDATE OR DELETE ON catalog_phasefeature
  FOR EACH ROW EXECUTE FUNCTION catalog_freeze_part();

CREATE FUNCTION catalog_keep_feature() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF to_jsonb(OLD) - '{name,unit}'::text[] <> to_jsonb(NEW) - '{name,unit}'::text[] THEN
    RAISE EXCEPTION 'what a feature is never changes'
      USING errcode = '23514', constraint = 'feature_kept';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER feature_kept BEFORE UPDATE ON catalog_feature
  FOR EACH ROW EXECUTE FUNCTION catalog_keep_feature();
"""
BACKWARD = """
DROP TRIGGER feature_kept ON catalog_feature;
DROP FUNCTION catalog_keep_feature;
DROP TRIGGER published_is_frozen ON catalog_phasefeature;
ALTER TABLE catalog_phasefeature DROP CONSTRAINT not_nan_limit;
"""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0005_features")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
