"""Row security for the tables of this app; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'backoffice_bookscheck',
  'backoffice_clockadvance'
]::regclass[]) AS one;
"""
BACKWARD = """
SELECT join_tenants(one) FROM unnest(ARRAY[
  'backoffice_bookscheck',
  'backoffice_clockadvance'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("backoffice", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
