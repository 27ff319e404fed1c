"""Replaying a month against another version of a plan: read once, priced twice, stored once."""

from collections.abc import Callable
from datetime import datetime
from time import perf_counter
from typing import Any, Final, NamedTuple
from uuid import UUID

from apps.backoffice.bench.close import seconds_to_measure
from apps.backoffice.bench.cpu import spent
from apps.backoffice.bench.report import Findings, Note, Ratio
from apps.backoffice.bench.scratch import Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.world import ACTOR, World, fill, make_world, settle
from apps.catalog.models import Plan
from apps.catalog.operations.plans import add_version
from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.invoicing.domain import BacktestOutcome, BacktestStatus
from apps.invoicing.models import Backtest
from apps.invoicing.operations.backtesting import Trial, begin_backtest, continue_backtest
from apps.metering.operations import roll_up
from apps.rating.periods import Span

_TESTED: Final[tuple[dict[str, Any], ...]] = (
    {"key": "base", "name": "Base fee", "pricing": {"model": "flat", "amount": "29.00"}},
    {"meter": "calls", "pricing": {"model": "per_unit", "unit_price": "0.02"}},
    {"meter": "traffic", "pricing": {"model": "per_unit", "unit_price": "0.002"}},
    {"meter": "storage", "pricing": {"model": "package", "size": "50", "price": "1.00"}},
)


class NotAllCompared(Exception):
    """A backtest did not compare everybody: what it took says nothing."""


class _Timed(NamedTuple):
    """What work took for everybody."""

    seconds: float
    cpu: float | None


class _Round(NamedTuple):
    measured: _Timed
    replayed: _Timed


def bench_backtest(scratch: Scratch, sizes: Sizes, month: Span, note: Note) -> Findings:
    """Measure a backtest of everybody by the closing run's measuring of the same usage.

    With the usage rolled up; with all of it still to be; and with that while the tables have no
    statistics, as when they have just been filled.
    """
    found = Findings("backtest")
    with scratch.copied(scratch.blank) as empty:
        note(f"backtest: making {sizes.backtested} subscriptions with {sizes.events} events")
        world = make_world(sizes.backtested, month)
        roll_up()  # the meters' versions have caught up, as anybody's have
        fill(world, sizes.events)
        # first: the server collects them by itself, sooner or later
        fresh = _rounds(scratch, empty, world, sizes, note)
        with scratch.copied(empty) as database:
            settle()
            pending = _rounds(scratch, database, world, sizes, note)
        with scratch.copied(empty) as database:
            roll_up()
            settle()
            rolled = _rounds(scratch, database, world, sizes, note)
    for name, rounds in (
        ("rolled up", rolled),
        ("not rolled up", pending),
        ("no statistics", fresh),
    ):
        count, unit = sizes.backtested, "subs/s"
        limit = found.rate(
            f"measuring, {name}", unit, [count / one.measured.seconds for one in rounds]
        )
        ours = found.rate(
            f"the backtest, {name}", unit, [count / one.replayed.seconds for one in rounds]
        )
        found.ratio(f"the backtest / measuring, {name}", ours, limit)
        by_cpu = [
            one.measured.cpu / one.replayed.cpu
            for one in rounds
            if one.measured.cpu is not None and one.replayed.cpu is not None
        ]
        if by_cpu:
            found.ratios.append(Ratio(f"the backtest / measuring, {name}, by CPU time", by_cpu))
            cpu = [one.replayed.cpu * 1_000 / count for one in rounds if one.replayed.cpu]
            found.rate(f"the backtest, {name}, by CPU time", "ms/sub", cpu)
    return found


def _rounds(
    scratch: Scratch, database: str, world: World, sizes: Sizes, note: Note
) -> list[_Round]:
    rounds = []
    for number in range(1, sizes.rounds + 1):
        note(f"backtest: round {number} of {sizes.rounds}")
        with scratch.copied(database):
            measured = _timed(lambda: seconds_to_measure(world))
            trial, backtest_id = _trial(world), new_id()
            replayed = _timed(lambda: _replay(world, trial, backtest_id, world.month.end))  # noqa: B023 -- called at once
            _check(world, backtest_id)
        rounds.append(_Round(measured, replayed))
    return rounds


def _timed(work: Callable[[], object]) -> _Timed:
    began = perf_counter()
    cpu = spent(work, "default")
    return _Timed(perf_counter() - began, cpu)


def _trial(world: World) -> Trial:
    """Return a trial of one period with a draft of other prices."""
    with tenant_scope(world.tenant_id):
        plan = Plan.objects.get()
        draft = add_version(
            plan.id,
            id=new_id(),
            document={
                "currency": "USD",
                "billing_period": "monthly",
                "publish": False,
                "charges": list(_TESTED),
            },
            actor=ACTOR,
            at=world.month.start,
        )
        return Trial(draft.id, from_plan_id=plan.id, periods=1)


def _replay(world: World, trial: Trial, backtest_id: UUID, at: datetime) -> None:
    """Begin a backtest and do all its chunks, as its jobs would."""
    with tenant_scope(world.tenant_id):
        begun = begin_backtest(world.tenant_id, trial, id=backtest_id, actor=ACTOR, at=at)
    while begun.status == BacktestStatus.RUNNING:
        with tenant_scope(world.tenant_id):
            continue_backtest(backtest_id, actor=ACTOR, at=at)
            begun.refresh_from_db()


def _check(world: World, backtest_id: UUID) -> None:
    """Refuse to report on a backtest that left somebody out, or found no difference."""
    with tenant_scope(world.tenant_id):
        found = Backtest.objects.get(pk=backtest_id).found
        paying = found.filter(outcome__in=(BacktestOutcome.WINNER, BacktestOutcome.LOSER)).count()
    if paying != world.subscriptions:
        raise NotAllCompared(f"{paying} of {world.subscriptions} would pay another price")
