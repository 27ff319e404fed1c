"""Notices are their tenant's own, and stay what was told."""

from django.db import migrations

FORWARD = """
SELECT isolate('subscriptions_notice');
SELECT make_append_only('subscriptions_notice');
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0015_notices")]
    operations = [migrations.RunSQL(FORWARD, migrations.RunSQL.noop)]
