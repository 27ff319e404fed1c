"""Replaying what was used against another version of a plan, chunk by chunk; nobody is billed."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import DatabaseError, transaction

from apps.catalog.models import Plan, PlanVersion
from apps.catalog.queries import charges_of
from apps.core.bulk import Same, insert_rows, save_rows
from apps.core.errors import BillingError, NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import encode, new_ids
from apps.core.states import move
from apps.customers.models import Customer
from apps.invoicing.domain import (
    BACKTEST_TRANSITIONS,
    MOST_BACKTEST_PERIODS,
    BacktestInvalid,
    BacktestOutcome,
    BacktestStatus,
)
from apps.invoicing.gathering import BothWays, expect_both
from apps.invoicing.models import Backtest, BacktestCustomer
from apps.invoicing.retelling import amounts_in, last_periods, outcome_of, phases_for, retold
from apps.invoicing.slicing import Charges, Reach
from apps.rating.periods import Span
from apps.subscriptions.domain import SubscriptionTerms
from apps.subscriptions.models import Subscription, SubscriptionSegment
from apps.subscriptions.queries import phases_of, timelines
from apps.tenants.models import Tenant, TestClock

logger = logging.getLogger(__name__)

CHUNK: Final = 200
_ZERO: Final = Decimal(0)
_LONGEST_REASON: Final = 500
# what makes one customer fail instead of the backtest
_FAILURES: Final = (BillingError, ArithmeticError, ValueError, LookupError, DatabaseError)


@dataclass(frozen=True, slots=True)
class Trial:
    """Which version is tested in place of which, for whom, over how many closed periods.

    In place of all versions of ``from_plan`` unless one is named; for all who had them unless
    customers are.
    """

    version_id: UUID
    from_plan_id: UUID
    periods: int
    from_version_id: UUID | None = None
    customer_ids: Collection[UUID] | None = None


@transaction.atomic
def begin_backtest(
    tenant_id: UUID,
    trial: Trial,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    actor: str,
    at: datetime,
) -> Backtest:
    """Take down who is to be looked at, as of now; jobs do the rest, a chunk at a time.

    The version may be a draft. Bills nobody and changes nothing but the backtest's own rows. A
    repeat with the same ``id`` returns what is there. Raises ``NotFound``, and ``BacktestInvalid``
    where there are not 1 to 24 periods, nobody ever had the plan, or somebody named had not.
    """
    known = Backtest.objects.filter(pk=id, tenant=tenant_id).first()
    if known is not None:
        return known
    if not 1 <= trial.periods <= MOST_BACKTEST_PERIODS:
        raise BacktestInvalid(f"1 to {MOST_BACKTEST_PERIODS} periods", field="periods")
    version = PlanVersion.objects.filter(pk=trial.version_id, tenant=tenant_id).first()
    plan = Plan.objects.filter(pk=trial.from_plan_id, tenant=tenant_id).first()
    if version is None or plan is None:
        raise NotFound("There is no such plan version.", field="plan_version")
    customers = _who(tenant_id, plan, trial, at=at)
    backtest = Backtest.objects.create(
        id=id,
        tenant_id=tenant_id,
        plan_version=version,
        from_plan=plan,
        from_version_id=trial.from_version_id,
        periods=trial.periods,
        phases=[one.id for one in phases_of([version.pk])[version.pk]],
        customers=len(customers),
        created_at=at,
    )
    insert_rows(
        BacktestCustomer,
        {
            "id": new_ids(len(customers)),
            "tenant": Same(tenant_id),
            "backtest": Same(backtest.pk),
            "customer": [one.id for one in customers],
            "priced_in": [one.currency for one in customers],
            "as_of": [one.now for one in customers],
            "outcome": Same(BacktestOutcome.PENDING.value),
            "subscriptions": Same(0),
            "reason": Same(""),
        },
    )
    failpoint("invoicing.backtest.after_members")
    record("backtest.begun", backtest, actor=actor, at=at, customers=len(customers))
    return backtest


@transaction.atomic
def continue_backtest(backtest_id: UUID, *, actor: str, at: datetime) -> None:
    """Look at the next chunk of customers; what is left is done by the job that this asks for.

    A customer who cannot be rated is noted with the reason and stops nobody. A repeat goes on with
    who is left, or finds nothing to do. A draft that was replaced since fails the backtest.
    """
    backtest = Backtest.objects.select_for_update(no_key=True).get(pk=backtest_id)
    if backtest.status != BacktestStatus.RUNNING:
        return
    phases = [one.id for one in phases_of([backtest.plan_version_id])[backtest.plan_version_id]]
    if phases != backtest.phases:
        backtest.reason = "The draft was replaced while it was tested."
        _end(backtest, BacktestStatus.FAILED, actor=actor, at=at)
        return
    left = backtest.found.filter(outcome=BacktestOutcome.PENDING).order_by("id")
    chunk = list(left[: CHUNK + 1])
    looked_at = chunk[:CHUNK]
    if looked_at:
        _note(backtest, looked_at, _look_at(backtest, looked_at))
        failpoint("invoicing.backtest.after_chunk")
        backtest.done += len(looked_at)
        backtest.save(update_fields=["done"])
    if len(chunk) > CHUNK:
        record("backtest.progressed", backtest, actor=actor, at=at, customers=len(looked_at))
    else:
        _end(backtest, BacktestStatus.DONE, actor=actor, at=at)


@transaction.atomic
def cancel_backtest(backtest_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> Backtest:
    """Stop it; what was found until then stays. A repeat changes nothing.

    Raises ``NotFound``, and ``IllegalTransition`` for one that has ended otherwise.
    """
    found = Backtest.objects.select_for_update(no_key=True)
    backtest = found.filter(pk=backtest_id, tenant=tenant_id).first()
    if backtest is None:
        raise NotFound("There is no such backtest.")
    if backtest.status != BacktestStatus.CANCELED:
        _end(backtest, BacktestStatus.CANCELED, actor=actor, at=at)
    return backtest


def _end(backtest: Backtest, to: BacktestStatus, *, actor: str, at: datetime) -> None:
    backtest.ended_at = max(at, backtest.created_at)
    also = ("ended_at", "reason")
    move(backtest, to=to, allowed=BACKTEST_TRANSITIONS, actor=actor, at=at, also=also)


# --- who ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    id: UUID
    currency: str
    now: datetime


def _who(tenant_id: UUID, plan: Plan, trial: Trial, *, at: datetime) -> list[_Asked]:
    """Return the customers who ever had the plan, each with what time it is for him.

    One table after the other. Joined, and with a planner that takes a tenant's rows for a few, as
    it does while statistics are missing, everybody is compared with everybody.
    """
    versions = PlanVersion.objects.filter(tenant=tenant_id, plan=plan)
    if trial.from_version_id is not None:
        versions = versions.filter(pk=trial.from_version_id)
    had = SubscriptionSegment.objects.filter(
        tenant=tenant_id, plan_version__in=list(versions.values_list("pk", flat=True)), absent=False
    )
    subscriptions = Subscription.objects.filter(
        tenant=tenant_id, pk__in=set(had.values_list("subscription", flat=True))
    )
    rows = Customer.objects.filter(
        tenant=tenant_id, pk__in=set(subscriptions.values_list("customer", flat=True))
    )
    wanted = None if trial.customer_ids is None else set(trial.customer_ids)
    if wanted is not None:
        rows = rows.filter(pk__in=wanted)
    clocks = dict(TestClock.objects.filter(tenant=tenant_id).values_list("pk", "now"))
    # as customer_now does for one
    of_tenant = Tenant.objects.values_list("test_clock", flat=True).get(pk=tenant_id)
    otherwise = clocks.get(of_tenant, at)
    found = [
        _Asked(pk, currency, clocks.get(clock, otherwise))
        for pk, currency, clock in rows.order_by("pk").values_list("pk", "currency", "test_clock")
    ]
    if wanted is not None and len(found) < len(wanted):
        missing = sorted(wanted - {one.id for one in found})
        names = ", ".join(encode(Customer.ID_PREFIX, one) for one in missing[:20])
        raise BacktestInvalid(f"never had {plan.key}: {names}", field="customers")
    if not found:
        raise BacktestInvalid(f"nobody ever had {plan.key}", field="from_plan")
    return found


# --- one chunk ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Compared:
    """What the periods of a customer come to, both ways, in one currency."""

    billed: Decimal
    would_be_billed: Decimal
    subscriptions: int
    span: Span


_Found = Mapping[str, _Compared] | str  # by currency, or why it failed


def _look_at(backtest: Backtest, rows: Sequence[BacktestCustomer]) -> dict[UUID, _Found]:
    """Compare customers together, or, where that fails, one by one."""
    try:
        with transaction.atomic():
            return _compare(backtest, rows)
    except _FAILURES:
        logger.exception("a chunk of a backtest failed; comparing %d customers singly", len(rows))
    found: dict[UUID, _Found] = {}
    for row in rows:
        try:
            with transaction.atomic():
                found |= _compare(backtest, [row])
        except _FAILURES as error:
            found[row.customer_id] = _said(error)
    return found


def _said(error: Exception) -> str:
    said = str(error) if isinstance(error, BillingError) else f"{type(error).__name__}: {error}"
    return said[:_LONGEST_REASON] or type(error).__name__


def _compare(backtest: Backtest, rows: Sequence[BacktestCustomer]) -> dict[UUID, _Found]:
    """Return what was found of each customer; the queries do not grow with their number."""
    tenant = Tenant.objects.get(pk=backtest.tenant_id)
    now = {row.customer_id: row.as_of for row in rows}
    actual = timelines(now, as_of=now)
    tested = _tested(backtest, actual)
    imagined = {
        customer_id: tuple(
            retold(terms, backtest.plan_version_id, tested) if terms.phase_ids & tested.keys()
            else terms
            for terms in subscriptions
        )
        for customer_id, subscriptions in actual.items()
    }  # fmt: skip
    every = [one for side in (actual, imagined) for some in side.values() for one in some]
    charges = charges_of({phase_id for one in every for phase_id in one.phase_ids})
    spans = _spans(actual, charges, now, backtest.periods)
    reaches = {
        terms.id: _reach(spans.get(terms.id), now[customer_id])
        for customer_id, subscriptions in actual.items()
        for terms in subscriptions
    }
    both = expect_both(tenant, actual, imagined, charges=charges, reaches=reaches)
    return {
        customer_id: _said(found)
        if isinstance(found, BillingError)
        else _totals(actual[customer_id], found, spans, tested.keys())
        for customer_id, found in both.items()
    }


def _tested(
    backtest: Backtest, everybody: Mapping[UUID, Sequence[SubscriptionTerms]]
) -> dict[UUID, UUID]:
    """Return, by phase of the versions that are replaced, the phase of the tested one."""
    held = {
        segment.plan_version_id
        for some in everybody.values()
        for one in some
        for track in one.tracks
        for segment in track.segments
    }
    replaced = PlanVersion.objects.filter(pk__in=held, plan=backtest.from_plan_id)
    if backtest.from_version_id is not None:
        replaced = replaced.filter(pk=backtest.from_version_id)
    versions = set(replaced.values_list("pk", flat=True))
    phases = phases_of(versions | {backtest.plan_version_id})
    then = phases[backtest.plan_version_id]
    found: dict[UUID, UUID] = {}
    for version_id in versions:
        found |= phases_for(phases[version_id], then)
    return found


def _spans(
    everybody: Mapping[UUID, Sequence[SubscriptionTerms]],
    charges: Charges,
    now: Mapping[UUID, datetime],
    count: int,
) -> dict[UUID, Span]:
    found = {
        terms.id: last_periods(terms, charges, count=count, at=now[customer_id])
        for customer_id, subscriptions in everybody.items()
        for terms in subscriptions
    }
    return {one: span for one, span in found.items() if span is not None}


def _reach(span: Span | None, at: datetime) -> Reach:
    return Reach(at, at) if span is None else Reach(span.start, span.end)


def _totals(
    subscriptions: Iterable[SubscriptionTerms],
    both: BothWays,
    spans: Mapping[UUID, Span],
    tested: Collection[UUID],
) -> dict[str, _Compared]:
    """Return what the customer's subscriptions come to, by currency.

    Those that had what is tested in their periods, and those whose bill is another because of it:
    they count what others counted before.
    """
    was, then = amounts_in(both.actual, spans), amounts_in(both.imagined, spans)
    counted: dict[str, list[SubscriptionTerms]] = defaultdict(list)
    for terms in subscriptions:
        if terms.id in spans and (
            _had(terms, spans[terms.id], tested) or was[terms.id] != then[terms.id]
        ):
            counted[terms.currency].append(terms)
    return {
        currency: _Compared(
            billed=sum((was[one.id] for one in some), _ZERO),
            would_be_billed=sum((then[one.id] for one in some), _ZERO),
            subscriptions=len(some),
            span=Span(
                min(spans[one.id].start for one in some), max(spans[one.id].end for one in some)
            ),
        )
        for currency, some in counted.items()
    }


def _had(terms: SubscriptionTerms, span: Span, tested: Collection[UUID]) -> bool:
    return any(
        one.phase_id in tested
        and not one.absent
        and one.starts_at < span.end
        and (one.ends_at is None or one.ends_at > span.start)
        for track in terms.tracks
        for one in track.segments
    )


def _note(
    backtest: Backtest, rows: Sequence[BacktestCustomer], found: Mapping[UUID, _Found]
) -> None:
    """Store what was found; a customer with several currencies gets a row for each."""
    more: list[BacktestCustomer] = []
    for row in rows:
        told = found[row.customer_id]
        if isinstance(told, str):
            row.outcome, row.reason = BacktestOutcome.FAILED, told
            continue
        row.outcome = BacktestOutcome.SKIPPED
        for number, (currency, compared) in enumerate(sorted(told.items())):
            if number == 0:
                _fill(row, currency, compared)
            else:
                other = BacktestCustomer(
                    tenant_id=row.tenant_id,
                    backtest_id=backtest.pk,
                    customer_id=row.customer_id,
                    as_of=row.as_of,
                )
                _fill(other, currency, compared)
                more.append(other)
    save_rows(
        rows,
        ["priced_in", "outcome", "subscriptions", "since", "until", "billed", "would_be_billed",
         "delta", "reason"],
    )  # fmt: skip
    BacktestCustomer.objects.bulk_create(more)


def _fill(row: BacktestCustomer, currency: str, found: _Compared) -> None:
    row.priced_in = currency
    row.subscriptions = found.subscriptions
    row.since, row.until = found.span.start, found.span.end
    row.billed, row.would_be_billed = found.billed, found.would_be_billed
    row.delta = found.would_be_billed - found.billed
    row.outcome = outcome_of(row.delta)
