"""Rules of the database: what belongs to a customer, and its clock, is of its tenant."""

from django.db import migrations

FORWARD = """
-- what refers to a customer may name its tenant too, so that the two cannot differ
ALTER TABLE customers_customer ADD CONSTRAINT customer_of_tenant UNIQUE (tenant_id, id);
ALTER TABLE customers_customer ADD CONSTRAINT customer_clock_of_tenant
  FOREIGN KEY (tenant_id, test_clock_id) REFERENCES tenants_testclock (tenant_id, id);
ALTER TABLE customers_taxid ADD CONSTRAINT tax_id_of_tenant
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers_customer (tenant_id, id)
  DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE customers_customer ADD CONSTRAINT customer_currency_form
  CHECK (currency ~ '^[A-Z]{3}$');
"""
BACKWARD = """
ALTER TABLE customers_customer DROP CONSTRAINT customer_currency_form;
ALTER TABLE customers_taxid DROP CONSTRAINT tax_id_of_tenant;
ALTER TABLE customers_customer DROP CONSTRAINT customer_clock_of_tenant;
ALTER TABLE customers_customer DROP CONSTRAINT customer_of_tenant;
"""


class Migration(migrations.Migration):
    dependencies = [("customers", "0002_initial"), ("tenants", "0002_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
