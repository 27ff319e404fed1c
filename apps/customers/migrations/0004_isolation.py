"""Row security for the tables of this app; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'customers_customer',
  'customers_taxid'
]::regclass[]) AS one;
"""
BACKWARD = """
SELECT join_tenants(one) FROM unnest(ARRAY[
  'customers_customer',
  'customers_taxid'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("customers", "0003_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
