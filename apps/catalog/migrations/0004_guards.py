"""Rules of the database: what was published never changes, and no numeric is NaN."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION catalog_refuse(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', what USING errcode = '23514', constraint = 'published_is_frozen';
END $$;

-- draft -> published -> retired is all that may happen to a plan version that is no draft
CREATE FUNCTION catalog_freeze_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE kept catalog_planversion;
BEGIN
  IF tg_op = 'DELETE' THEN
    IF OLD.status <> 'draft' THEN
      PERFORM catalog_refuse('a published plan version is never deleted');
    END IF;
    RETURN OLD;
  END IF;
  kept := NEW;
  kept.status := OLD.status;
  IF OLD.status = 'draft' THEN
    kept.published_at := OLD.published_at;
  END IF;
  IF kept IS DISTINCT FROM OLD
     OR (NEW.status <> OLD.status
         AND (OLD.status, NEW.status) NOT IN (('draft', 'published'), ('published', 'retired')))
  THEN
    PERFORM catalog_refuse('a plan version is published, then retired, and otherwise unchanged');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER published_is_frozen BEFORE UPDATE OR DELETE ON catalog_planversion
  FOR EACH ROW EXECUTE FUNCTION catalog_freeze_version();

-- FOR SHARE: whoever publishes the version at the same time comes before or after, never between
CREATE FUNCTION catalog_need_draft(version uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE found_status text;
BEGIN
  SELECT status INTO found_status FROM catalog_planversion WHERE id = version FOR SHARE;
  IF found_status <> 'draft' THEN
    PERFORM catalog_refuse('the phases, charges and prices of a published version never change');
  END IF;
END $$;

CREATE FUNCTION catalog_freeze_part() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_op <> 'INSERT' THEN
    PERFORM catalog_need_draft(catalog_version_of(tg_table_name, to_jsonb(OLD)));
  END IF;
  IF tg_op = 'DELETE' THEN
    RETURN OLD;
  END IF;
  PERFORM catalog_need_draft(catalog_version_of(tg_table_name, to_jsonb(NEW)));
  RETURN NEW;
END $$;

CREATE FUNCTION catalog_version_of(part_table name, part jsonb) RETURNS uuid LANGUAGE sql AS $$
  SELECT CASE part_table
    WHEN 'catalog_phase' THEN (part ->> 'version_id')::uuid
    WHEN 'catalog_charge' THEN
      (SELECT version_id FROM catalog_phase WHERE id = (part ->> 'phase_id')::uuid)
    WHEN 'catalog_chargeprice' THEN
      (SELECT p.version_id FROM catalog_charge c JOIN catalog_phase p ON p.id = c.phase_id
       WHERE c.id = (part ->> 'charge_id')::uuid)
  END
$$;
CREATE TRIGGER published_is_frozen BEFORE INSERT OR UPDATE OR DELETE ON catalog_phase
  FOR EACH ROW EXECUTE FUNCTION catalog_freeze_part();
CREATE TRIGGER published_is_frozen BEFORE INSERT OR UPDATE OR DELETE ON catalog_charge
  FOR EACH ROW EXECUTE FUNCTION catalog_freeze_part();
CREATE TRIGGER published_is_frozen BEFORE INSERT OR UPDATE OR DELETE ON catalog_chargeprice
  FOR EACH ROW EXECUTE FUNCTION catalog_freeze_part();

ALTER TABLE catalog_planversion ADD CONSTRAINT plan_version_status_known
  CHECK (status IN ('draft', 'published', 'retired'));
-- lets a segment prove that its phase belongs to its plan version
ALTER TABLE catalog_phase ADD CONSTRAINT phase_of_version UNIQUE (version_id, id);
SELECT refuse_nan('catalog_charge');
SELECT refuse_nan('catalog_chargeprice');
"""
BACKWARD = """
DROP TRIGGER published_is_frozen ON catalog_chargeprice;
DROP TRIGGER published_is_frozen ON catalog_charge;
DROP TRIGGER published_is_frozen ON catalog_phase;
DROP TRIGGER published_is_frozen ON catalog_planversion;
DROP FUNCTION catalog_freeze_part, catalog_version_of, catalog_need_draft,
              catalog_freeze_version, catalog_refuse;
ALTER TABLE catalog_planversion DROP CONSTRAINT plan_version_status_known;
ALTER TABLE catalog_phase DROP CONSTRAINT phase_of_version;
ALTER TABLE catalog_charge DROP CONSTRAINT not_nan_included_quantity;
ALTER TABLE catalog_chargeprice DROP CONSTRAINT not_nan_minimum,
  DROP CONSTRAINT not_nan_maximum, DROP CONSTRAINT not_nan_billing_threshold;
"""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0003_initial"), ("core", "0002_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
