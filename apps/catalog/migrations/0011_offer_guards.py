"""Offers of add-ons are their tenant's own, and their limits are numbers."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('catalog_addonoffer');
SELECT isolate('catalog_addonoffer');
"""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0010_add_on_offers")]
    operations = [migrations.RunSQL(FORWARD, migrations.RunSQL.noop)]
