"""What has burned before the reader came to it; settlements that give back."""

import django.db.models.deletion
from django.db import migrations, models

import apps.core.ids


class Migration(migrations.Migration):
    dependencies = [
        ("customers", "0004_isolation"),
        ("tenants", "0004_isolation"),
        ("wallets", "0004_isolation"),
    ]
    operations = [
        migrations.CreateModel(
            name="BurnedAhead",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.ids.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("snapshot", models.TextField()),
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="customers.customer",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={"ordering": ("-id",)},
        ),
        migrations.RemoveConstraint(model_name="usagesettlement", name="settlement_positive"),
        migrations.AddConstraint(
            model_name="usagesettlement",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount", 0), _negated=True), name="settlement_moves"
            ),
        ),
    ]
