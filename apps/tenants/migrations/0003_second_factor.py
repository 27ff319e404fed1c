from django.db import migrations, models

import apps.core.sealing


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_guards")]

    operations = [
        migrations.AddField(
            model_name="operator",
            name="otp_seed",
            field=apps.core.sealing.SealedField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="operator",
            name="otp_confirmed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="operator",
            name="otp_last_step",
            field=models.BigIntegerField(null=True),
        ),
    ]
