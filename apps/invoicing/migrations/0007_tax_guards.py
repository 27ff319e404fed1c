"""Rules of tax that hold whoever writes: frozen with its document, and adding up."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('invoicing_invoicetax');
SELECT isolate('invoicing_invoicetax');

-- documents show together the tax on what they bill together, rounded once
ALTER TABLE invoicing_invoicetax ADD CONSTRAINT tax_of_the_difference CHECK (
  amount + amount_before
  = round((taxable + taxable_before) * percentage / 100, currency_places(currency)));
ALTER TABLE invoicing_invoiceline ADD CONSTRAINT line_taxed_in_a_scope CHECK (
  (tax_scope_id IS NULL) = (tax_rates IS NULL)
  AND (tax_rates IS NULL OR jsonb_typeof(tax_rates) = 'array'));

CREATE TRIGGER tax_frozen_insert AFTER INSERT ON invoicing_invoicetax
  REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION line_frozen();
CREATE TRIGGER tax_frozen_update AFTER UPDATE ON invoicing_invoicetax
  REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION line_frozen();
CREATE TRIGGER tax_frozen_update_old AFTER UPDATE ON invoicing_invoicetax
  REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION line_frozen();
CREATE TRIGGER tax_frozen_delete AFTER DELETE ON invoicing_invoicetax
  REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION line_frozen();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON invoicing_invoicetax
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION tax_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong uuid;
BEGIN
  SELECT n.id INTO wrong FROM changed n
  WHERE n.status <> 'draft' AND n.tax <> (
    SELECT coalesce(sum(t.amount), 0) FROM invoicing_invoicetax t
    WHERE t.invoice_id = n.id AND t.currency = n.currency)
  LIMIT 1;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'the tax of document % is not the sum of its taxes', wrong
      USING errcode = '23514', constraint = 'tax_adds_up';
  END IF;
  RETURN NULL;
END $$;
SELECT let_see_all('tax_adds_up()');
CREATE TRIGGER tax_adds_up AFTER UPDATE ON invoicing_invoice
  REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION tax_adds_up();
"""
BACKWARD = """
DROP TRIGGER tax_adds_up ON invoicing_invoice;
DROP FUNCTION tax_adds_up;
DROP TRIGGER no_truncate ON invoicing_invoicetax;
DROP TRIGGER tax_frozen_delete ON invoicing_invoicetax;
DROP TRIGGER tax_frozen_update_old ON invoicing_invoicetax;
DROP TRIGGER tax_frozen_update ON invoicing_invoicetax;
DROP TRIGGER tax_frozen_insert ON invoicing_invoicetax;
ALTER TABLE invoicing_invoiceline DROP CONSTRAINT line_taxed_in_a_scope;
ALTER TABLE invoicing_invoicetax DROP CONSTRAINT tax_of_the_difference,
  DROP CONSTRAINT not_nan_percentage, DROP CONSTRAINT not_nan_taxable,
  DROP CONSTRAINT not_nan_amount, DROP CONSTRAINT not_nan_taxable_before,
  DROP CONSTRAINT not_nan_amount_before;
SELECT join_tenants('invoicing_invoicetax');
"""


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0006_taxes")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
