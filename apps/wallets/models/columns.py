"""Columns that rows of credit share."""

from decimal import Decimal  # noqa: TC003 -- the types plugin needs it
from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.wallets.domain import (
    LOWEST_PRIORITY,
    Scope,
)

PRIORITY_RANGE: Final = models.Q(priority__gte=1, priority__lte=LOWEST_PRIORITY)


def figure(default: int = 0) -> "models.DecimalField[Decimal, Decimal]":
    return models.DecimalField(max_digits=38, decimal_places=12, default=default)


def keys() -> "ArrayField[list[str], list[str]]":
    return ArrayField(models.CharField(max_length=100), default=list, blank=True)


class Scoped(models.Model):
    """What credit may be used for, by keys; all empty is everything."""

    scope_products = keys()
    scope_meters = keys()
    scope_charges = keys()

    class Meta:
        abstract = True

    @property
    def scope(self) -> Scope:
        """The three columns as one."""
        return Scope(
            tuple(self.scope_products), tuple(self.scope_meters), tuple(self.scope_charges)
        )
