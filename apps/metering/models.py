"""Facts: what was used, when.

The events themselves are in ``metering_usageevent`` and their keys in ``metering_usageeventkey``:
partitioned tables that a migration makes and that SQL alone writes and reads, so they are no models.
"""

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from apps.core.states import Stateful
from apps.customers.models import Customer
from apps.metering.domain import AmendmentAction
from apps.rating.aggregation import Aggregation
from apps.tenants.models import TenantOwned


class Meter(TenantOwned):
    """What is measured, by a stable key; how, is in its versions."""

    ID_PREFIX = "met"

    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    unit = models.CharField(max_length=40, blank=True, default="")
    description = models.TextField(blank=True, default="")
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    archived_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("tenant", "key"), name="meter_key_once"),)

    def __str__(self) -> str:
        return self.key

    @property
    def newest(self) -> "MeterVersion":
        """The version that new charges get; there always is one. Uses versions read before."""
        return max(self.versions.all(), key=lambda version: version.number)


class MeterVersion(TenantOwned):
    """One definition of a meter. Never changes; charges are pinned to the version they name."""

    ID_PREFIX = "mev"

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    event_name = models.CharField(max_length=100)
    aggregation = models.CharField(max_length=20, choices=[(a, a) for a in Aggregation])
    value_property = models.CharField(max_length=100, blank=True, default="")  # "": the value
    percentile = models.DecimalField(max_digits=6, decimal_places=3, null=True)
    recurring = models.BooleanField(default=False)  # carries its level into the next period
    filters = models.JSONField(default=list)  # rating.filters' documents
    group_by = ArrayField(models.CharField(max_length=100), default=list)
    rounding = models.CharField(max_length=10, blank=True, default="")  # up, down, half_up
    rounding_places = models.SmallIntegerField(default=0)
    refuses_negative = models.BooleanField(default=False)  # events below zero are not taken
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("meter", "number")
        constraints = (
            models.UniqueConstraint(fields=("meter", "number"), name="meter_version_once"),
            models.CheckConstraint(condition=models.Q(number__gt=0), name="meter_version_positive"),
            models.CheckConstraint(
                condition=models.Q(aggregation="percentile", percentile__gt=0, percentile__lte=100)
                | (~models.Q(aggregation="percentile") & models.Q(percentile__isnull=True)),
                name="meter_percentile_where_needed",
            ),
        )
        indexes = (models.Index(fields=("tenant", "event_name"), name="meters_by_event_name"),)

    def __str__(self) -> str:
        return f"{self.meter} v{self.number}"


class EventStream(TenantOwned):
    """A named endpoint that takes the caller's own JSON; paths say what lies where in it."""

    ID_PREFIX = "str"

    handle = models.CharField(max_length=100)
    event_name = models.CharField(max_length=100)
    subject_path = models.CharField(max_length=200)
    timestamp_path = models.CharField(max_length=200, blank=True, default="")  # "": arrival
    value_path = models.CharField(max_length=200, blank=True, default="")
    key_path = models.CharField(max_length=200, blank=True, default="")  # "": hash of the body
    created_at = models.DateTimeField()
    archived_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "handle"), name="stream_handle_once"),
        )

    def __str__(self) -> str:
        return self.handle


class UsageSubject(models.Model):
    """A name that events may use for a subscription, and the time in which it is open.

    Kept by ``subscriptions`` through ``metering.operations``: ingestion resolves names here and
    needs to know nothing of contracts.
    """

    subscription_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    external_id = models.CharField(max_length=255, null=True)
    opens_at = models.DateTimeField()
    closes_at = models.DateTimeField(null=True)  # exclusive

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant_id", "external_id"), name="subject_external_id_once"
            ),
            models.CheckConstraint(
                condition=models.Q(closes_at__isnull=True)
                | models.Q(closes_at__gte=models.F("opens_at")),
                name="subject_opens_before_it_closes",
            ),
        )

    def __str__(self) -> str:
        return self.external_id or str(self.subscription_id)


class OrphanEvent(Stateful, TenantOwned):
    """An event that matched nothing: kept whole, with its reason, until it can be attached."""

    ID_PREFIX = "orp"

    key = models.CharField(max_length=255)
    event_name = models.CharField(max_length=100)
    subject_kind = models.CharField(max_length=12)  # metering.domain.SubjectKind
    subject = models.CharField(max_length=255)
    occurred_at = models.DateTimeField()
    value = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    properties = models.JSONField(default=dict)
    reason = models.CharField(max_length=40)  # metering.domain.OrphanReason
    received_at = models.DateTimeField()
    attached_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("tenant", "key"), name="orphan_key_once"),)
        indexes = (
            models.Index(fields=("tenant", "status", "-id"), name="orphans_newest"),
            models.Index(
                fields=("tenant", "subject"),
                condition=models.Q(status="open"),
                name="orphans_by_subject",
            ),
            models.Index(
                fields=("tenant", "event_name"),
                condition=models.Q(status="open"),
                name="orphans_by_event_name",
            ),
        )

    def __str__(self) -> str:
        return f"{self.event_name} {self.key}"


class EventAmendment(TenantOwned):
    """What somebody corrected about events, and why. Never changes; undone by another amendment.

    The events stay as they came. What it does to each is in ``metering_eventeffect``, which a
    migration makes and SQL alone writes and reads: from this transaction on the event does not
    count, counts again, or was brought in by the amendment.
    """

    ID_PREFIX = "amd"

    action = models.CharField(max_length=10, choices=[(a, a) for a in AmendmentAction])
    reason = models.CharField(max_length=500)
    actor = models.CharField(max_length=120)
    created_at = models.DateTimeField()
    selected = models.JSONField(
        default=dict, encoder=DjangoJSONEncoder
    )  # which events, as it was asked for
    change = models.JSONField(
        default=dict, encoder=DjangoJSONEncoder
    )  # of "replace": what is different now
    undoes = models.OneToOneField(
        "self", null=True, on_delete=models.PROTECT, related_name="undone_by"
    )
    voided = models.PositiveIntegerField()  # events that count no more
    restored = models.PositiveIntegerField()  # events that count again
    added = models.PositiveIntegerField()  # events brought in
    customers = models.PositiveIntegerField()
    # the first and the last instant at which usage differs; null where it touched no event
    since = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(action__in=[a.value for a in AmendmentAction]),
                name="amendment_action_known",
            ),
            models.CheckConstraint(
                condition=models.Q(action="undo", undoes__isnull=False)
                | (~models.Q(action="undo") & models.Q(undoes__isnull=True)),
                name="amendment_undoes_where_said",
            ),
        )

    def __str__(self) -> str:
        return f"{self.action} of {self.created_at:%Y-%m-%d %H:%M}"


class UsageRollup(models.Model):
    """What one meter version measured for one subject in one UTC hour or day.

    Derived: equals recomputation from the events below the reader's position, less those that
    amendments below it have voided, always.
    """

    class Grain(models.TextChoices):
        HOUR = "h"
        DAY = "d"

    meter_version = models.ForeignKey(MeterVersion, on_delete=models.PROTECT, related_name="+")
    tenant_id = models.UUIDField()
    customer_id = models.UUIDField()
    subscription_id = models.UUIDField(null=True)  # null: the events named only the customer
    grain = models.CharField(max_length=1, choices=Grain)
    starts_at = models.DateTimeField()
    # JSON array: the price point, then the values of the group-by properties
    group = models.TextField()
    group_hash = models.UUIDField()  # of ``group``, which may be longer than an index allows
    count = models.BigIntegerField()
    total = models.DecimalField(max_digits=50, decimal_places=12)
    moment = models.DecimalField(max_digits=70, decimal_places=18)  # Σ value × epoch seconds
    low = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    high = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    last_at = models.DateTimeField()
    last_seq = models.BigIntegerField()
    last_value = models.DecimalField(max_digits=38, decimal_places=12, null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=(
                    "customer_id",
                    "meter_version",
                    "grain",
                    "starts_at",
                    "subscription_id",
                    "group_hash",
                ),
                name="one_rollup_per_bucket",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        return f"{self.meter_version_id} {self.grain} {self.starts_at}"


class RollupFrontier(models.Model):
    """How far the reader has come: one row.

    The rollups of every version that has caught up hold all events of transactions below
    ``below_xid``, and no others.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    below_xid = models.BigIntegerField()

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="frontier_one_row"),)

    def __str__(self) -> str:
        return f"below {self.below_xid}"


class RollupPosition(models.Model):
    """Whether a meter version's rollups have caught up with the frontier; if not, how far it is.

    A version whose events were there before it reads them customer by customer, those of
    transactions below ``target_xid`` first. Until then nothing may be read from its rollups.
    """

    meter_version = models.OneToOneField(
        MeterVersion, primary_key=True, on_delete=models.PROTECT, related_name="position"
    )
    tenant_id = models.UUIDField()
    caught_up = models.BooleanField()
    # nothing was billed by the version before this transaction
    born_xid = models.BigIntegerField()
    target_xid = models.BigIntegerField(null=True)  # null: not begun, or caught up
    after_customer = models.UUIDField(null=True)  # the last one done, while catching up

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(target_xid__isnull=True, after_customer__isnull=True)
                | models.Q(target_xid__isnull=False, caught_up=False),
                name="position_catches_up_once",
            ),
        )
        indexes = (
            models.Index(
                fields=("meter_version",),
                condition=models.Q(caught_up=False),
                name="positions_behind",
            ),
        )

    def __str__(self) -> str:
        return f"{self.meter_version_id} {'caught up' if self.caught_up else 'behind'}"


class ChangedUsage(models.Model):
    """A customer whose usage changed, and the earliest instant at which it did.

    The reader marks it; a billing run takes from it how far back it must look and clears the
    mark it saw (``mark``), not one that came after.
    """

    customer = models.OneToOneField(
        Customer, primary_key=True, on_delete=models.PROTECT, related_name="changed_usage"
    )
    tenant_id = models.UUIDField()
    since = models.DateTimeField()
    mark = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.customer_id} since {self.since}"


class MeterStamp(models.Model):
    """A number that grows whenever a tenant's meters change.

    Ingestion keeps the definitions in memory and compares this number in the statement that
    stores events.
    """

    tenant_id = models.UUIDField(primary_key=True)
    number = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.tenant_id} #{self.number}"


class EventsDropped(models.Model):
    """The instant before which events have been dropped by retention: at most one row.

    Their rollups and keys stay; nothing before it can be recomputed.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    before = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(id=1), name="events_dropped_one_row"),
        )

    def __str__(self) -> str:
        return f"before {self.before:%Y-%m-%d}"
