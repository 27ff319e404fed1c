"""What contracts grant."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0017_renewals")]
    operations = [
        migrations.AddField(
            model_name="contract", name="features", field=models.JSONField(default=list)
        )
    ]
