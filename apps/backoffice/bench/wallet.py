"""Spending credit: one wallet that everybody spends from, and many of which events burn."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from itertools import repeat
from time import perf_counter, sleep
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from apps.backoffice.bench.barespending import bare, spend_all, spend_hot
from apps.backoffice.bench.cpu import spent
from apps.backoffice.bench.crew import Crew
from apps.backoffice.bench.report import Findings, Note, Ratio
from apps.backoffice.bench.scratch import OWNER, Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.world import (
    ACTOR,
    CUSTOMER,
    World,
    copies,
    customer_id,
    fill,
    make_world,
    numbered_sql,
    settle,
)
from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.metering.queries.meters import meter_named
from apps.rating.periods import Span
from apps.wallets.domain import Settlement
from apps.wallets.models import CreditGrant, CreditTransaction, Wallet
from apps.wallets.operations.burning import burn_usage
from apps.wallets.operations.granting import grant_credit
from apps.wallets.operations.spending import consume_credit
from apps.wallets.operations.wallets import create_wallet, price_meter

CREDIT: Final = Decimal(1_000_000)
PRICED: Final = ("calls", "traffic")  # the first two events of each customer
_WALLET: Final = "a1000000"
_GRANT: Final = "a2000000"
_ENTRY: Final = "a3000000"
_TRIES: Final = 600
_PAUSE: Final = 0.1  # seconds


class NotAllSpent(Exception):
    """Less was taken than there was to take: what it took says nothing."""


class _Round(NamedTuple):
    """Debits per second, and seconds of CPU time where they can be told."""

    one: float
    bare_one: float
    several: float
    bare_several: float
    burned: float
    bare_burned: float
    cpu: float | None
    bare_cpu: float | None


def bench_wallet(scratch: Scratch, sizes: Sizes, month: Span, note: Note) -> Findings:
    """Measure spending by the same rows written by SQL alone, without rules, books or audit."""
    with scratch.copied(scratch.blank) as database:
        note(f"wallet: making {sizes.wallets} wallets with {len(PRICED)} events each")
        world = make_world(sizes.wallets, month)
        make_wallets(world)
        fill(world, len(PRICED))
        settle()
        rounds = []
        for number in range(1, sizes.rounds + 1):
            note(f"wallet: round {number} of {sizes.rounds}")
            with scratch.copied(database):
                rounds.append(_round(world, sizes))
    found = Findings("wallet")
    many, wallets = f"{sizes.spenders} spenders", f"{sizes.wallets} wallets"
    for name, ours, theirs in (
        ("hot wallet, 1 spender", [one.one for one in rounds], [one.bare_one for one in rounds]),
        (
            f"hot wallet, {many}",
            [one.several for one in rounds],
            [one.bare_several for one in rounds],
        ),
        (
            f"events in batches, {wallets}",
            [one.burned for one in rounds],
            [one.bare_burned for one in rounds],
        ),
    ):
        rate = found.rate(name, "debits/s", ours)
        limit = found.rate(f"{name}, SQL", "debits/s", theirs)
        found.ratio(f"{name} / SQL", rate, limit)
    by_cpu = [
        one.bare_cpu / one.cpu for one in rounds if one.cpu is not None and one.bare_cpu is not None
    ]
    if by_cpu:
        found.ratios.append(Ratio(f"events in batches, {wallets} / SQL, by CPU time", by_cpu))
    return found


@transaction.atomic
def make_wallets(world: World) -> None:
    """Give every customer a wallet, settled on event, with one grant that lasts for ever."""
    tenant_id, at = world.tenant_id, world.month.start
    for key in PRICED:
        price_meter(
            meter_named(tenant_id, key),
            id=new_id(),
            unit=None,
            currency="USD",
            price=Decimal("0.01"),
            actor=ACTOR,
            at=at,
        )
    wallet = create_wallet(
        customer_id(1),
        id=wallet_id(1),
        tenant_id=tenant_id,
        settlement=Settlement.ON_EVENT,
        actor=ACTOR,
        at=at,
    )
    grant_credit(
        wallet.id,
        id=UUID(f"{_GRANT}-0000-7000-8000-{1:012x}"),
        tenant_id=tenant_id,
        amount=CREDIT,
        actor=ACTOR,
        at=at,
    )
    owner = {"wallet_id": numbered_sql(_WALLET)}
    customer = {"customer_id": numbered_sql(CUSTOMER)}
    copies(Wallet, world.subscriptions, {"id": numbered_sql(_WALLET), **customer})
    copies(CreditGrant, world.subscriptions, {"id": numbered_sql(_GRANT), **owner})
    granted = {"id": numbered_sql(_ENTRY), "grant_id": numbered_sql(_GRANT)}
    copies(CreditTransaction, world.subscriptions, {**granted, **owner})


def wallet_id(number: int) -> UUID:
    """Return the id of the wallet of a customer by his number."""
    return UUID(f"{_WALLET}-0000-7000-8000-{number:012x}")


def _round(world: World, sizes: Sizes) -> _Round:
    debits = len(PRICED) * world.subscriptions
    with bare() as tables:
        bare_one = sizes.spends / spend_hot(tables, wallet_id(1), sizes.spends, spenders=1)
        seconds = spend_hot(tables, wallet_id(1), sizes.spends, spenders=sizes.spenders)
        bare_several = sizes.spenders * sizes.spends / seconds
        bare_burned, bare_cpu = _timed(lambda: spend_all(tables, PRICED), OWNER)
    one = sizes.spends / _seconds_to_spend(world, sizes.spends, spenders=1)
    seconds = _seconds_to_spend(world, sizes.spends, spenders=sizes.spenders)
    several = sizes.spenders * sizes.spends / seconds
    burned, cpu = _timed(lambda: _burn(debits, world.month.end), "default")
    _check(world, Decimal((1 + sizes.spenders) * sizes.spends), debits)
    return _Round(
        one, bare_one, several, bare_several, debits / burned, debits / bare_burned, cpu, bare_cpu
    )


def _timed(work: Callable[[], object], alias: str) -> tuple[float, float | None]:
    began = perf_counter()
    cpu = spent(work, alias)
    return perf_counter() - began, cpu


def _seconds_to_spend(world: World, count: int, *, spenders: int) -> float:
    with Crew(spenders) as crew:
        crew.each(_spend, world.tenant_id, 0, world.month.end)  # reads what is to be read
        return crew.timed(_spend, world.tenant_id, count, world.month.end)


def _spend(tenant_id: UUID, count: int, at: datetime) -> None:
    with tenant_scope(tenant_id):
        for amount in repeat(Decimal(1), count):
            consume_credit(
                wallet_id(1), id=new_id(), tenant_id=tenant_id, amount=amount, actor=ACTOR, at=at
            )


def _burn(debits: int, wall: datetime) -> None:
    """Let the reader come through; whatever else runs on the server may hold it back."""
    seen = 0
    for _ in range(_TRIES):
        seen += burn_usage(wall=wall)
        if seen >= debits:
            return
        sleep(_PAUSE)
    raise NotAllSpent(f"{seen} of {debits} events were read")


def _check(world: World, hot: Decimal, debits: int) -> None:
    with tenant_scope(world.tenant_id):
        moved = CreditTransaction.objects.filter(kind="consume")
        burned = moved.filter(event_id__isnull=False).count()
        spent_hot = moved.filter(event_id=None).aggregate(total=Sum("amount"))["total"]
    if burned != debits or spent_hot != -hot:
        raise NotAllSpent(f"{burned} of {debits} events burned, {spent_hot} of {hot} spent")
