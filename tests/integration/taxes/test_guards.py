"""What the database refuses of tax rates, whoever writes."""

import pytest
from django.db import IntegrityError, connection

from apps.core.constraints import broken
from tests.make.taxes import make_tax_rate
from tests.make.tenants import make_tenant

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("percentage = 7", "tax_rate_kept"),
        ("name = 'MwSt'", "tax_rate_kept"),
        ("country = 'FR'", "tax_rate_kept"),
        ("valid_from = now()", "tax_rate_kept"),
        ("valid_until = NULL", "tax_rate_kept"),
        ("valid_until = '2028-01-01'", "tax_rate_kept"),
    ],
)
def test_a_rate_is_never_edited(change: str, constraint: str) -> None:
    rate = make_tax_rate(make_tenant())
    end = "UPDATE taxes_taxrate SET valid_until = '2027-01-01' WHERE id = %s"
    with connection.cursor() as cursor:
        cursor.execute(end, [rate.id])
        with pytest.raises(IntegrityError) as raised:
            cursor.execute(f"UPDATE taxes_taxrate SET {change}")  # noqa: S608 -- rows above
    assert broken(raised.value) == constraint


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("percentage", "'NaN'", "not_nan_percentage"),
        ("percentage", "100.1", "tax_rate_percentage_range"),
        ("percentage", "-1", "tax_rate_percentage_range"),
        ("region", "'Texas'", "tax_rate_region_in_country"),
        ("valid_until", "'2000-01-01'", "tax_rate_forward"),
    ],
)
def test_a_rate_makes_sense(column: str, value: str, constraint: str) -> None:
    make_tax_rate(make_tenant())
    other = "jsonb_build_object('id', gen_random_uuid(), 'key', 'b', 'tax', 'b', 'valid_from', '2026-01-01')"
    other += f" || jsonb_build_object('{column}', {value})"
    copy = f"SELECT (jsonb_populate_record(r, {other})).* FROM taxes_taxrate r"  # noqa: S608 -- rows above
    with pytest.raises(IntegrityError) as raised, connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO taxes_taxrate {copy}")
    assert broken(raised.value) == constraint
