"""Row security for the tables of this app; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'ledger_ledgeraccount',
  'ledger_journalentry',
  'ledger_posting'
]::regclass[]) AS one;
SELECT let_see_all(one) FROM unnest(ARRAY[
  'posting_fits()',
  'journal_balanced()'
]::regprocedure[]) AS one;
"""
BACKWARD = """
SELECT join_tenants(one) FROM unnest(ARRAY[
  'ledger_ledgeraccount',
  'ledger_journalentry',
  'ledger_posting'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("ledger", "0002_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
