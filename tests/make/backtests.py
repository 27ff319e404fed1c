"""Backtests for tests, begun and worked off by the operations."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from apps.catalog.models import PlanVersion
from apps.core.ids import new_id
from apps.invoicing.domain import BacktestStatus
from apps.invoicing.models import Backtest
from apps.invoicing.operations.backtesting import Trial, begin_backtest, continue_backtest
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT


@in_its_scope
def begin(
    version: PlanVersion,
    at: datetime = AT,
    *,
    periods: int = 1,
    instead_of: PlanVersion | None = None,
    customers: Collection[UUID] | None = None,
) -> Backtest:
    """Return a new backtest of a version, in place of all of its plan's unless one is given."""
    trial = Trial(
        version.pk,
        from_plan_id=instead_of.plan_id if instead_of else version.plan_id,
        from_version_id=instead_of.pk if instead_of else None,
        periods=periods,
        customer_ids=customers,
    )
    return begin_backtest(version.tenant_id, trial, id=new_id(), actor=ACTOR, at=at)


@in_its_scope
def work_off(backtest: Backtest, at: datetime = AT) -> Backtest:
    """Return the backtest when it has ended, each of its chunks done as by its jobs."""
    while backtest.status == BacktestStatus.RUNNING:
        continue_backtest(backtest.pk, actor=ACTOR, at=at)
        backtest.refresh_from_db()
    return backtest
