"""Tax rates on the desk."""

from django.contrib import admin

from apps.core.clock import now
from apps.taxes.models import TaxRate
from apps.taxes.operations import archive_tax_rate
from apps.tenants.desk import By, Desk, Verb, instant, plain
from apps.tenants.queries import tenant_now


def _archive(rate: TaxRate, by: By) -> object:
    at = tenant_now(rate.tenant, wall=now())
    return archive_tax_rate(rate.id, tenant_id=rate.tenant_id, actor=by.actor, at=at)


@admin.register(TaxRate)
class TaxRateDesk(Desk):
    resource = "taxes"
    list_display = (
        plain("name"),
        plain("key"),
        plain("tax"),
        plain("percentage", "%"),
        plain("country"),
        plain("region"),
        plain("tax_code"),
        instant("valid_from", "from"),
        instant("valid_until", "until"),
        instant("archived_at", "archived"),
    )
    list_filter = ("tax", "country")
    search_fields = ("name", "key", "tax")
    related = ("tenant__test_clock",)
    verbs = (
        Verb(
            name="archive",
            label="Archive",
            icon="archive",
            resource="taxes",
            run=_archive,
            fits=lambda rate: rate.archived_at is None,
            warning="It applies to nothing new from then on, and never again.",
        ),
    )
    when_empty = "Prices are without tax; what is added to them: POST /api/v1/tax-rates."
