"""One transfer may pay back several payments: its reference stands once for each."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0006_refund_guards")]
    operations = [
        migrations.RemoveConstraint("refund", "refund_reference_once"),
        migrations.AddConstraint(
            "refund",
            models.UniqueConstraint(
                fields=("tenant", "customer", "reference", "payment"),
                name="refund_reference_once",
            ),
        ),
    ]
