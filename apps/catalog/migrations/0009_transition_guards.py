"""Rules for changes of plans are their tenant's own."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("catalog", "0008_transitions")]
    operations = [
        migrations.RunSQL(
            "SELECT isolate('catalog_plantransition');", migrations.RunSQL.noop
        )
    ]
