"""The way of closing that everybody begins with: one query per subscription and charge."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

from django.apps.registry import Apps
from django.db import models
from django.db.models import Count, Max, Sum

from apps.backoffice.bench.world import METERS, World, customer_id, subscription_id
from apps.rating.aggregation import Aggregation

_AGGREGATES: Final[dict[Aggregation, Any]] = {
    Aggregation.COUNT: Count("id"),
    Aggregation.SUM: Sum("value"),
    Aggregation.MAX: Max("value"),
}


class _Event(models.Model):
    """The table of events as a model, which the product does not have; in no registry."""

    id = models.UUIDField(primary_key=True)
    customer_id = models.UUIDField()
    subscription_id = models.UUIDField(null=True)
    event_name = models.TextField()
    occurred_at = models.DateTimeField()
    value = models.DecimalField(max_digits=38, decimal_places=12, null=True)

    class Meta:
        apps = Apps()
        app_label = "bench"
        managed = False
        db_table = "metering_usageevent"

    def __str__(self) -> str:
        return f"{self.event_name} at {self.occurred_at}"


def seconds_by_query(world: World, numbers: Sequence[int]) -> float:
    """Return how long it takes to measure the month of subscriptions, one query per charge."""
    began = perf_counter()
    for number in numbers:
        for name, aggregation in METERS.items():
            _Event._default_manager.filter(
                customer_id=customer_id(number),
                subscription_id=subscription_id(number),
                event_name=name,
                occurred_at__gte=world.month.start,
                occurred_at__lt=world.month.end,
            ).aggregate(found=_AGGREGATES[aggregation])
    return perf_counter() - began
