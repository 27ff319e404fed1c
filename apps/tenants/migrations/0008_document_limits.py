"""How large a document may become before somebody has to look at it."""

from decimal import Decimal

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_notices"), ("core", "0002_guards")]
    operations = [
        migrations.AddField(
            "tenant",
            "largest_document",
            models.DecimalField(max_digits=38, decimal_places=12, default=Decimal(10**12)),
        ),
        migrations.AddField(
            "tenant", "most_document_lines", models.PositiveIntegerField(default=20000)
        ),
        migrations.AddConstraint(
            "tenant",
            models.CheckConstraint(
                condition=models.Q(("largest_document__gt", 0), ("most_document_lines__gt", 0)),
                name="tenant_documents_may_exist",
            ),
        ),
        migrations.RunSQL(
            "SELECT refuse_nan('tenants_tenant')",
            "ALTER TABLE tenants_tenant DROP CONSTRAINT not_nan_largest_document",
        ),
    ]
