"""Meters for tests, made by the operation."""

from datetime import datetime
from itertools import count
from typing import Any

from apps.core.ids import new_id
from apps.metering.models import Meter
from apps.metering.operations import create_meter
from apps.rating.aggregation import Aggregation
from apps.tenants.models import Tenant
from tests.make.tenants import ACTOR, AT, make_tenant

_numbers = count(1)


def make_meter(
    tenant: Tenant | None = None, *, key: str | None = None, at: datetime = AT, **values: Any
) -> Meter:
    """Return a new meter: the sum of the values of the events called like its key, unless said."""
    name = key or f"meter_{next(_numbers)}"
    return create_meter(
        (tenant or make_tenant()).id,
        id=new_id(),
        key=name,
        actor=ACTOR,
        at=at,
        **{"name": name, "event_name": name, "aggregation": Aggregation.SUM, **values},
    )
