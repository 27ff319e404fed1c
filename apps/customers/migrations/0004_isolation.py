"""Row security for the tables of this app; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT refer_within_tenant(one) FROM unnest(ARRAY[
  'customers_customer',
  'customers_taxid'
]::regclass[]) AS one;
"""
BACKWARD = ""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("customers", "0003_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
