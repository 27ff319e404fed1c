"""What of a document credit pays that was taxed when it was bought; and that this stays so."""

from django.db import migrations, models

FORWARD = """
ALTER TABLE invoicing_invoicetax
  ADD CONSTRAINT not_nan_covered CHECK (covered <> 'NaN'),
  ADD CONSTRAINT tax_covered_not_negative CHECK (covered >= 0);

-- once credit is sold, when it is taxed stays as it is
CREATE FUNCTION credit_taxed_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM invoicing_invoice i WHERE i.tenant_id = NEW.id AND i.sells_credit) THEN
    RAISE EXCEPTION 'credit has been sold'
      USING errcode = '23514', constraint = 'credit_taxed_fixed';
  END IF;
  RETURN NEW;
END $$;
SELECT let_see_all('credit_taxed_fixed()');
CREATE TRIGGER credit_taxed_fixed BEFORE UPDATE ON tenants_tenant
  FOR EACH ROW WHEN (OLD.credit_taxed <> NEW.credit_taxed)
  EXECUTE FUNCTION credit_taxed_fixed();
"""
BACKWARD = """
DROP TRIGGER credit_taxed_fixed ON tenants_tenant;
DROP FUNCTION credit_taxed_fixed;
ALTER TABLE invoicing_invoicetax
  DROP CONSTRAINT tax_covered_not_negative, DROP CONSTRAINT not_nan_covered;
"""


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0007_tax_guards"), ("tenants", "0006_credit_taxed")]
    operations = [
        migrations.AddField(
            model_name="invoicetax",
            name="covered",
            field=models.DecimalField(decimal_places=12, default=0, max_digits=38),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
