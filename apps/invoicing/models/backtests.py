"""What another version of a plan would have meant: results of backtests, which bill nothing."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.catalog.models import Plan, PlanVersion
from apps.core.states import Stateful
from apps.customers.models import Customer
from apps.invoicing.domain import (
    COMPARED,
    MOST_BACKTEST_PERIODS,
    BacktestOutcome,
    BacktestStatus,
)
from apps.tenants.models import TenantOwned


class Backtest(Stateful, TenantOwned):
    """A replay of the last closed billing periods against a version of a plan.

    In place of what subscriptions had of ``from_plan``: of all its versions, or of one.
    """

    ID_PREFIX = "btt"

    status = models.CharField(
        max_length=20, choices=[(s, s) for s in BacktestStatus], default=BacktestStatus.RUNNING
    )
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="+")
    from_plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="+")
    from_version = models.ForeignKey(
        PlanVersion, null=True, on_delete=models.PROTECT, related_name="+"
    )
    periods = models.PositiveSmallIntegerField()
    # those of the version when it began: a draft that is replaced meanwhile has others
    phases = ArrayField(models.UUIDField())
    customers = models.PositiveIntegerField()  # to be looked at
    done = models.PositiveIntegerField(default=0)  # of them
    reason = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Backtest"]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(periods__gte=1, periods__lte=MOST_BACKTEST_PERIODS),
                name="backtest_periods",
            ),
            models.CheckConstraint(
                condition=Q(done__lte=F("customers")), name="backtest_done_at_most_all"
            ),
            models.CheckConstraint(
                condition=~Q(status=BacktestStatus.DONE) | Q(done=F("customers")),
                name="backtest_done_is_complete",
            ),
            models.CheckConstraint(
                condition=Q(status=BacktestStatus.RUNNING, ended_at__isnull=True)
                | (~Q(status=BacktestStatus.RUNNING) & Q(ended_at__isnull=False)),
                name="backtest_ended_at",
            ),
        )

    def __str__(self) -> str:
        return f"{self.plan_version}, {self.periods} periods"


class BacktestCustomer(TenantOwned):
    """What a backtest found for one customer, in one currency.

    ``billed`` is what should be billed of the periods as things are, which is what was, late
    corrections included; ``would_be_billed`` what the tested version would have come to.
    """

    ID_PREFIX = "btc"

    backtest = models.ForeignKey(Backtest, on_delete=models.CASCADE, related_name="found")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    # not called currency: it does not bind the customer to one, as books in it do
    priced_in = models.CharField(max_length=3)
    as_of = models.DateTimeField()  # what time it was for the customer when the backtest began
    outcome = models.CharField(
        max_length=20, choices=[(o, o) for o in BacktestOutcome], default=BacktestOutcome.PENDING
    )
    subscriptions = models.PositiveIntegerField(default=0)  # that were compared
    since = models.DateTimeField(null=True)  # the earliest and the latest instant looked at
    until = models.DateTimeField(null=True)
    billed = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    would_be_billed = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    delta = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    reason = models.CharField(max_length=500, blank=True, default="")

    objects: ClassVar[models.Manager["BacktestCustomer"]] = models.Manager()

    class Meta:
        ordering = ("backtest", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("backtest", "customer", "priced_in"), name="backtest_customer_once"
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=COMPARED, delta__isnull=False)
                | (
                    ~Q(outcome__in=COMPARED)
                    & Q(billed__isnull=True, would_be_billed__isnull=True, delta__isnull=True)
                ),
                name="backtest_compared_has_amounts",
            ),
            models.CheckConstraint(
                condition=Q(delta__isnull=True) | Q(delta=F("would_be_billed") - F("billed")),
                name="backtest_delta_is_difference",
            ),
            models.CheckConstraint(
                condition=Q(outcome=BacktestOutcome.WINNER, delta__lt=0)
                | Q(outcome=BacktestOutcome.LOSER, delta__gt=0)
                | Q(outcome=BacktestOutcome.UNCHANGED, delta=0)
                | ~Q(outcome__in=COMPARED),
                name="backtest_outcome_is_sign",
            ),
            models.CheckConstraint(
                condition=Q(outcome=BacktestOutcome.FAILED) ^ Q(reason=""),
                name="backtest_failure_has_reason",
            ),
        )
        indexes = (
            models.Index(fields=("backtest", "delta", "id"), name="backtest_by_delta"),
            models.Index(
                fields=("backtest", "id"),
                condition=Q(outcome=BacktestOutcome.PENDING),
                name="backtest_left",
            ),
        )

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.outcome}"
