"""Rules of the database: a rate is never edited, and no two of a tax stand for the same."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('taxes_taxrate');
SELECT isolate('taxes_taxrate');

CREATE FUNCTION tax_rate_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE free CONSTANT text[] := '{valid_until,archived_at}';
BEGIN
  IF to_jsonb(OLD) - free <> to_jsonb(NEW) - free
     OR (OLD.valid_until IS NOT NULL AND NEW.valid_until IS DISTINCT FROM OLD.valid_until)
     OR (OLD.archived_at IS NOT NULL AND NEW.archived_at IS DISTINCT FROM OLD.archived_at) THEN
    RAISE EXCEPTION 'a tax rate is ended and archived, never edited'
      USING errcode = '23514', constraint = 'tax_rate_kept';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER tax_rate_kept BEFORE UPDATE ON taxes_taxrate
  FOR EACH ROW EXECUTE FUNCTION tax_rate_kept();

-- the lock makes two that are added at the same time see each other
CREATE FUNCTION tax_rate_overlaps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('tax rates ' || NEW.tenant_id, 0));
  IF NEW.archived_at IS NULL AND EXISTS (
       SELECT FROM taxes_taxrate r
       WHERE r.tenant_id = NEW.tenant_id AND r.id <> NEW.id AND r.archived_at IS NULL
         AND (r.tax, r.country, lower(r.region), r.tax_code)
             = (NEW.tax, NEW.country, lower(NEW.region), NEW.tax_code)
         AND coalesce(r.valid_from, '-infinity') < coalesce(NEW.valid_until, 'infinity')
         AND coalesce(NEW.valid_from, '-infinity') < coalesce(r.valid_until, 'infinity'))
  THEN
    RAISE EXCEPTION 'another rate of this tax stands for the same place, code and time'
      USING errcode = '23P01', constraint = 'tax_rate_overlaps';
  END IF;
  RETURN NEW;
END $$;
SELECT let_see_all('tax_rate_overlaps()');
CREATE TRIGGER tax_rate_overlaps BEFORE INSERT ON taxes_taxrate
  FOR EACH ROW EXECUTE FUNCTION tax_rate_overlaps();
"""
BACKWARD = """
DROP TRIGGER tax_rate_overlaps ON taxes_taxrate;
DROP TRIGGER tax_rate_kept ON taxes_taxrate;
DROP FUNCTION tax_rate_overlaps, tax_rate_kept;
SELECT join_tenants('taxes_taxrate');
ALTER TABLE taxes_taxrate DROP CONSTRAINT not_nan_percentage;
"""


class Migration(migrations.Migration):
    dependencies = [("taxes", "0001_initial"), ("core", "0003_isolation")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
