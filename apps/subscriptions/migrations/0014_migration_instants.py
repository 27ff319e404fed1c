"""Each member of a migration has an instant of its own, because clocks differ."""

from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0013_migration_guards")]
    operations = [
        migrations.AddField(
            model_name="planmigrationmember",
            name="effective_at",
            field=models.DateTimeField(default=timezone.now),
            preserve_default=False,
        ),
    ]
