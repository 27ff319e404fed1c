"""What the desk keeps: results of checking the books, and how far test clocks have come."""

from django.db import models

from apps.tenants.models import TenantOwned, TestClock


class BooksCheck(TenantOwned):
    """One check of a tenant's books: how many rows there were that must not exist."""

    ID_PREFIX = "chk"

    checked_at = models.DateTimeField()
    breaches = models.PositiveIntegerField()
    details = models.JSONField(default=list)  # the first of them, a sentence each

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("tenant", "-id"), name="checks_newest"),)

    def __str__(self) -> str:
        return f"{self.breaches or 'no'} breaches"


class ClockAdvance(TenantOwned):
    """A request to advance a test clock, and how far that has come."""

    ID_PREFIX = "adv"

    clock = models.ForeignKey(TestClock, on_delete=models.PROTECT, related_name="advances")
    begins_at = models.DateTimeField()
    to = models.DateTimeField()
    reached = models.DateTimeField()  # what the clock showed at the last stop
    steps = models.PositiveIntegerField(default=0)  # stops on the way
    created_at = models.DateTimeField()  # real time
    ended_at = models.DateTimeField(null=True)  # real time; null: under way
    failure = models.TextField(blank=True, default="")  # why it ended before its time

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("clock",),
                condition=models.Q(ended_at__isnull=True),
                name="one_advance_per_clock",
            ),
            models.CheckConstraint(
                condition=models.Q(reached__gte=models.F("begins_at"), reached__lte=models.F("to")),
                name="advance_reached_between",
            ),
        )

    def __str__(self) -> str:
        return f"{self.clock_id} to {self.to:%Y-%m-%d %H:%M}Z"
