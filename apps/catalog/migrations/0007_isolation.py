"""Row security for the tables of this app; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'catalog_product',
  'catalog_pricelist',
  'catalog_feature',
  'catalog_plan',
  'catalog_planversion',
  'catalog_phase',
  'catalog_charge',
  'catalog_chargeprice',
  'catalog_phasefeature'
]::regclass[]) AS one;
SELECT let_see_all(one) FROM unnest(ARRAY[
  'catalog_freeze_version()',
  'catalog_freeze_part()'
]::regprocedure[]) AS one;
"""
BACKWARD = """
SELECT join_tenants(one) FROM unnest(ARRAY[
  'catalog_product',
  'catalog_pricelist',
  'catalog_feature',
  'catalog_plan',
  'catalog_planversion',
  'catalog_phase',
  'catalog_charge',
  'catalog_chargeprice',
  'catalog_phasefeature'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("catalog", "0006_feature_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
