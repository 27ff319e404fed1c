from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_guards")]

    operations = [
        migrations.AddField(
            model_name="paymentmethod",
            name="expires_at",
            field=models.DateTimeField(null=True),
        ),
    ]
