"""Moving many subscriptions to another version of their plan, batch by batch, and back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from apps.catalog.domain import Behaviour
from apps.catalog.models import PlanVersion
from apps.catalog.queries import charges_of
from apps.core.bulk import Same, insert_rows, save_rows
from apps.core.errors import NotFound
from apps.core.events import Happening, record, record_all
from apps.core.failpoints import failpoint
from apps.core.ids import encode, new_id, new_ids
from apps.core.locks import lock_rows
from apps.core.states import move, move_all
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.subscriptions.domain import (
    CHANGE_TRANSITIONS,
    HOLDING,
    LARGEST_BATCH,
    MIGRATION_TRANSITIONS,
    Change,
    ChangeStatus,
    ChangeVerb,
    MemberOutcome,
    MigrationStatus,
    SubscriptionInvalid,
    SubscriptionStatus,
    SubscriptionTerms,
    concerned_since,
    segment_at,
    settlement_of,
)
from apps.subscriptions.models import (
    PlanMigration,
    PlanMigrationMember,
    ScheduledChange,
    Subscription,
)
from apps.subscriptions.operations.checking import anchor_errors, currency_errors, version_on_sale
from apps.subscriptions.operations.deciding import anchoring_for
from apps.subscriptions.operations.enacting import arguments_of
from apps.subscriptions.operations.relaying import relay_timelines
from apps.subscriptions.queries import phases_of, replayed, terms_with

_TICK: Final = timedelta(microseconds=1)
_ALIVE: Final = HOLDING | {SubscriptionStatus.SCHEDULED}


@dataclass(frozen=True, slots=True)
class Cohort:
    """Which subscriptions are to be moved where, as of when, and how that settles.

    Without ``effective_at`` each is moved as of the time that it is for its customer.
    """

    from_version: PlanVersion
    to_version: PlanVersion
    effective_at: datetime | None
    behaviour: Behaviour
    rows: tuple[Subscription, ...]

    def instants(self, *, wall: datetime) -> dict[UUID, datetime]:
        """Return as of when each subscription is moved, if ``wall`` is the time of the tenant."""
        named = self.effective_at
        return {one.pk: named or customer_now(one.customer, wall=wall) for one in self.rows}


def cohort_of(
    tenant_id: UUID,
    *,
    from_version_id: UUID,
    to_version_id: UUID,
    effective_at: datetime | None,
    behaviour: Behaviour = Behaviour.PRORATE,
    subscription_ids: Sequence[UUID] | None = None,
) -> Cohort:
    """Return the subscriptions on one version of a plan, all or those named, and where they go.

    Raises ``NotFound``, ``PlanNotOnSale``, and ``SubscriptionInvalid`` where the versions are not of
    one plan, a subscription that is named has another version, or none has this one.
    """
    was = PlanVersion.objects.filter(pk=from_version_id, tenant=tenant_id).first()
    if was is None:
        raise NotFound("There is no such plan version.", field="from_version")
    to = version_on_sale(to_version_id, tenant_id)
    if to.plan_id != was.plan_id or to == was:
        raise SubscriptionInvalid(
            "a migration leads to another version of the same plan", field="to_version"
        )
    if behaviour is Behaviour.NEXT_PERIOD:
        raise SubscriptionInvalid(
            "the periods of many end at many times; name an instant", field="behaviour"
        )
    found = (
        Subscription.objects.filter(tenant=tenant_id, plan_version=was, status__in=_ALIVE)
        .select_related("customer__test_clock", "customer__tenant__test_clock")
        .order_by("pk")
    )
    if subscription_ids is not None:
        found = found.filter(pk__in=list(subscription_ids))
    rows = tuple(found)
    if subscription_ids is not None and len(rows) < len(set(subscription_ids)):
        missing = set(subscription_ids) - {one.pk for one in rows}
        names = ", ".join(sorted(encode(Subscription.ID_PREFIX, one) for one in missing))
        raise SubscriptionInvalid(f"not on version {was.number}: {names}", field="subscriptions")
    if not rows:
        raise SubscriptionInvalid(
            f"no subscription is on version {was.number}", field="from_version"
        )
    return Cohort(was, to, effective_at, behaviour, rows)


@transaction.atomic
def begin_migration(
    tenant_id: UUID,
    cohort: Cohort,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    batch_size: int,
    actor: str,
    at: datetime,
) -> PlanMigration:
    """Take down who is to be moved; jobs move them, ``batch_size`` at a time.

    All as of the cohort's instant, or of a subscription's start if that comes later; where it names
    none, each as of the time that it is now for its customer. A repeat with the same ``id`` returns
    what is there. Raises ``SubscriptionInvalid`` for a batch that is too
    large.
    """
    known = PlanMigration.objects.filter(pk=id, tenant=tenant_id).first()
    if known is not None:
        return known
    if not 1 <= batch_size <= LARGEST_BATCH:
        raise SubscriptionInvalid(f"a batch has 1 to {LARGEST_BATCH}", field="batch_size")
    migration = PlanMigration.objects.create(
        id=id,
        tenant_id=tenant_id,
        from_version=cohort.from_version,
        to_version=cohort.to_version,
        effective_at=cohort.effective_at or at,
        behaviour=cohort.behaviour,
        batch_size=batch_size,
        created_at=at,
    )
    instants = cohort.instants(wall=at)
    insert_rows(
        PlanMigrationMember,
        {
            "id": new_ids(len(cohort.rows)),
            "tenant": Same(tenant_id),
            "migration": Same(migration.pk),
            "subscription": [one.pk for one in cohort.rows],
            "effective_at": [instants[one.pk] for one in cohort.rows],
            "outcome": Same(MemberOutcome.PENDING.value),
            "reason": Same(""),
        },
    )
    failpoint("subscriptions.migrate.after_members")
    record("plan_migration.begun", migration, actor=actor, at=at, members=len(cohort.rows))
    return migration


@transaction.atomic
def continue_migration(migration_id: UUID, *, actor: str) -> None:
    """Move the next batch, or move it back; what is left is done by the job that this asks for.

    A repeat goes on with who is left, or finds nothing to do.
    """
    migration = PlanMigration.objects.select_for_update(no_key=True).get(pk=migration_id)
    steps = {
        MigrationStatus.RUNNING: (MemberOutcome.PENDING, _move_batch, MigrationStatus.DONE),
        MigrationStatus.ROLLING_BACK: (
            MemberOutcome.MIGRATED,
            _return_batch,
            MigrationStatus.ROLLED_BACK,
        ),
    }
    step = steps.get(MigrationStatus(migration.status))
    if step is None:
        return
    left, work, ended = step
    at = migration.rolled_back_at or migration.created_at
    members = migration.members.filter(outcome=left).order_by("id")
    batch = list(members[: migration.batch_size])
    if batch:
        owners = [one.subscription_id for one in batch]
        customers = Customer.objects.filter(subscriptions__in=owners).select_related(
            "test_clock", "tenant__test_clock"
        )
        times = {one.pk: customer_now(one, wall=at) for one in customers}
        lock_rows(Customer, list(times), tenant_id=migration.tenant_id)
        rows = lock_rows(Subscription, owners, tenant_id=migration.tenant_id)
        for time, group in _by_time(rows, times).items():
            some = [one for one in batch if one.subscription_id in group]
            work(migration, some, group, actor, time)
        failpoint("subscriptions.migrate.after_batch")
    if members.exists():
        record("plan_migration.progressed", migration, actor=actor, at=at, members=len(batch))
    else:
        move(migration, to=ended, allowed=MIGRATION_TRANSITIONS, actor=actor, at=at)


def _by_time(
    rows: Iterable[Subscription], times: Mapping[UUID, datetime]
) -> dict[datetime, dict[UUID, Subscription]]:
    """Return the subscriptions of those for whom it is the same time, which most of them are."""
    found: dict[datetime, dict[UUID, Subscription]] = {}
    for row in rows:
        found.setdefault(times[row.customer_id], {})[row.pk] = row
    return found


@transaction.atomic
def roll_back_migration(migration_id: UUID, *, actor: str, at: datetime) -> PlanMigration:
    """Return those who were moved to the version they had, as of the same instant; jobs do it.

    The timelines are as though it had never been: what was not billed yet is billed as before, what
    was is credited. Who was changed since keeps that. A repeat changes nothing.
    """
    found = PlanMigration.objects.select_for_update(no_key=True).filter(pk=migration_id)
    migration = found.first()
    if migration is None:
        raise NotFound("There is no such migration.")
    if migration.rolled_back_at is None:
        migration.rolled_back_at = at
        move(
            migration,
            to=MigrationStatus.ROLLING_BACK,
            allowed=MIGRATION_TRANSITIONS,
            actor=actor,
            at=at,
            also=("rolled_back_at",),
        )
    return migration


def foresee_migration(
    cohort: Cohort, *, at: datetime
) -> tuple[dict[datetime, list[SubscriptionTerms]], dict[UUID, str]]:
    """Return the timelines with the migration, and of those that would be refused the reason.

    Each up to the time that it is for its customer if it is ``at`` for the tenant, or to the
    cohort's instant where that lies ahead; those with the same end are together. Stores nothing.
    """
    instants = cohort.instants(wall=at)
    changes, refused = _decide(
        cohort.rows, cohort.from_version.pk, cohort.to_version, cohort.behaviour, instants
    )
    rows = [one for one in cohort.rows if one.pk in changes]
    cutoffs = {one.pk: max(customer_now(one.customer, wall=at), instants[one.pk]) for one in rows}
    until = {one.pk: max(cutoffs[one.pk], changes[one.pk].effective_at) for one in rows}
    was, laid = replayed(rows, until), replayed(rows, until, more=changes)
    terms: dict[datetime, list[SubscriptionTerms]] = {}
    for row in rows:
        since = concerned_since(changes[row.pk].effective_at, was[row.pk].all(), laid[row.pk].all())
        now = terms_with(row, laid[row.pk])
        now = replace(now, changed_from=min(since, now.changed_from or since))
        terms.setdefault(cutoffs[row.pk], []).append(now)
    return terms, refused


def _decide(
    rows: Sequence[Subscription],
    from_version_id: UUID,
    to: PlanVersion,
    behaviour: Behaviour,
    instants: Mapping[UUID, datetime],
) -> tuple[dict[UUID, Change], dict[UUID, str]]:
    """Return the change of each subscription, or why it is refused."""
    phases = phases_of([to.pk])[to.pk]
    charges = [one for listed in charges_of(p.id for p in phases).values() for one in listed]
    wished = {
        row.pk: Change(
            ChangeVerb.CHANGE_PLAN,
            max(instants[row.pk], row.started_at),
            settlement_of(behaviour),
            plan_version_id=to.pk,
            phases=phases,
        )
        for row in rows
    }
    until = {pk: one.effective_at for pk, one in wished.items()}
    was, laid = replayed(rows, until), replayed(rows, until, more=wished)
    # read in one go, so that what follows reads nothing
    charges_of({one.phase_id for found in (was, laid) for t in found.values() for one in t.all()})
    changes: dict[UUID, Change] = {}
    refused: dict[UUID, str] = {}
    for row in rows:
        change = wished[row.pk]
        held = segment_at(was[row.pk].segments, change.effective_at)
        coming = segment_at(laid[row.pk].segments, change.effective_at)
        if row.status == SubscriptionStatus.ENDED or held is None:
            refused[row.pk] = "It has ended by then."
        elif held.plan_version_id != from_version_id:
            refused[row.pk] = "It has another version by then."
        elif coming is None:
            refused[row.pk] = "All phases of the version are over by then."
        else:
            errors = [
                *currency_errors(charges, held.price_list_id, row.currency),
                *anchor_errors(row, charges, anchor_at=change.effective_at),
            ]
            if errors:
                refused[row.pk] = errors[0].detail[:500]
            else:
                changes[row.pk] = replace(change, anchoring=anchoring_for(held, coming))
    return changes, refused


def _move_batch(
    migration: PlanMigration,
    batch: Sequence[PlanMigrationMember],
    rows: Mapping[UUID, Subscription],
    actor: str,
    at: datetime,
) -> None:
    behaviour = Behaviour(migration.behaviour)
    instants = {one.subscription_id: one.effective_at for one in batch}
    changes, refused = _decide(
        list(rows.values()), migration.from_version_id, migration.to_version, behaviour, instants
    )
    moving = [one for one in rows.values() if one.pk in changes]
    latest = dict(
        ScheduledChange.objects.filter(subscription__in=[one.pk for one in moving])
        .values_list("subscription")
        .annotate(at=Max("created_at"))
    )
    made = {
        row.pk: ScheduledChange(
            id=new_id(),
            tenant_id=row.tenant_id,
            subscription=row,
            verb=ChangeVerb.CHANGE_PLAN,
            effective_at=changes[row.pk].effective_at,
            arguments=arguments_of(changes[row.pk], behaviour),
            created_at=max(at, latest[row.pk] + _TICK) if row.pk in latest else at,
        )
        for row in moving
    }
    ScheduledChange.objects.bulk_create(made.values())
    due = [one for one in moving if made[one.pk].effective_at <= at]
    move_all(
        [made[one.pk] for one in due],
        to=ChangeStatus.APPLIED,
        allowed=CHANGE_TRANSITIONS,
        actor=actor,
        at=at,
    )
    failpoint("subscriptions.migrate.after_changes")
    _tell(due, made, actor, at)
    relay_timelines(
        due,
        {one.pk: made[one.pk].effective_at for one in due},
        bill_now=behaviour is Behaviour.INVOICE_NOW,
        actor=actor,
        at=at,
    )
    for one in batch:
        change = made.get(one.subscription_id)
        one.change = change
        one.outcome = MemberOutcome.MIGRATED if change else MemberOutcome.REFUSED
        one.reason = refused.get(one.subscription_id, "")
    save_rows(batch, ["change", "outcome", "reason"])


def _return_batch(
    _migration: PlanMigration,
    batch: Sequence[PlanMigrationMember],
    rows: Mapping[UUID, Subscription],
    actor: str,
    at: datetime,
) -> None:
    changes = {
        one.subscription_id: one
        for one in ScheduledChange.objects.filter(pk__in=[one.change_id for one in batch])
    }
    waiting = [one for one in changes.values() if one.status == ChangeStatus.PENDING]
    applied = [
        one
        for one in changes.values()
        if one.status == ChangeStatus.APPLIED
        and rows[one.subscription_id].status != SubscriptionStatus.ENDED
    ]
    for some, to in ((waiting, ChangeStatus.WITHDRAWN), (applied, ChangeStatus.UNDONE)):
        move_all(some, to=to, allowed=CHANGE_TRANSITIONS, actor=actor, at=at)
    relay_timelines(
        [rows[one.subscription_id] for one in applied],
        {one.subscription_id: one.effective_at for one in applied},
        bill_now=False,
        actor=actor,
        at=at,
    )
    for one in batch:
        one.outcome = MemberOutcome.ROLLED_BACK
        if rows[one.subscription_id].status == SubscriptionStatus.ENDED:
            one.reason = "It has ended since, and stays as it ended."
    save_rows(batch, ["outcome", "reason"])


def _tell(
    rows: Iterable[Subscription],
    made: Mapping[UUID, ScheduledChange],
    actor: str,
    at: datetime,
) -> None:
    record_all(
        [
            Happening(
                "subscription.changed",
                row.tenant_id,
                row.ID_PREFIX,
                row.pk,
                {
                    "change": made[row.pk].public_id,
                    "verb": ChangeVerb.CHANGE_PLAN,
                    "effective_at": made[row.pk].effective_at.isoformat(),
                },
            )
            for row in rows
        ],
        actor=actor,
        at=at,
    )
