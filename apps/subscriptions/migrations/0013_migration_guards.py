"""Migrations of subscriptions are their tenant's own; none comes back from where it ended."""

from django.db import migrations

FORWARD = """
ALTER TABLE subscriptions_planmigration ADD CONSTRAINT migration_status_known
  CHECK (status IN ('running', 'done', 'rolling_back', 'rolled_back'));
SELECT isolate('subscriptions_planmigration');
SELECT isolate('subscriptions_planmigrationmember');
"""
BACKWARD = """
ALTER TABLE subscriptions_planmigration DROP CONSTRAINT migration_status_known;
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0012_plan_migrations")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
