import django.db.models.deletion
from django.db import migrations, models

import apps.core.ids


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="BooksCheck",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("checked_at", models.DateTimeField()),
                ("breaches", models.PositiveIntegerField()),
                ("details", models.JSONField(default=list)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant")),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [models.Index(fields=["tenant", "-id"], name="checks_newest")],
            },
        ),
    ]
