"""A whole simulation: some tenants, many months, one judgement."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.faults import listening
from apps.backoffice.simulation.house import House, Ways
from apps.backoffice.simulation.judging import billed_lines, differences
from apps.core.tenancy import tenant_scope
from apps.invoicing.models import Invoice
from apps.tenants.domain import LateUsagePolicy, TaxRounding
from apps.wallets.models import CreditTransaction

_DAY: Final = timedelta(days=1)
# among the months to come are a 29 February and both changes of clocks, north and south
_BEGINS: Final = datetime(2023, 12, 30, 23, 30, tzinfo=UTC)


@dataclass(slots=True)
class Verdict:
    """What came of a simulation; ``differences`` is empty if all is as it should be."""

    seed: int
    months: int
    customers: int = 0
    subscriptions: int = 0
    events: int = 0
    amendments: int = 0
    changes: int = 0
    taken_back: int = 0
    add_ons: int = 0  # changes of them
    contracts: int = 0
    wallets: int = 0
    grants: int = 0
    movements: int = 0  # of credit
    refunds: int = 0
    disputes: int = 0
    clawed_back: int = 0  # grants, for disputes and refunds
    coupons: int = 0
    late: int = 0
    duplicates: int = 0
    conflicts: int = 0
    documents: int = 0
    lines: int = 0
    interruptions: int = 0
    failures: int = 0
    repeats: int = 0
    # a fingerprint of all lines: the same seed gives the same one
    fingerprint: str = ""
    cpu_seconds: int = 0
    differences: list[str] = field(default_factory=list)


def simulate(
    *, months: int, customers: int, seed: int, wall: datetime, say: Callable[[str], None]
) -> Verdict:
    """Live through so many months with so many customers, and judge what the product made of it.

    Everything that happens is drawn from ``seed``; ``wall`` is the real time. Three tenants are
    made in the database, each with its own ways; they stay. Outside of any transaction.
    """
    began = process_time()
    verdict = Verdict(seed, months)
    dice = Dice(seed)
    digest = hashlib.sha256()
    starts_at = _BEGINS + timedelta(days=dice.randrange(20))
    until = starts_at + months * timedelta(days=30, hours=10)
    with listening() as complaints:
        for ways in _ways(seed, customers):
            if not ways.customers:
                continue
            with tenant_scope(None):
                house = House(dice, ways, starts_at=starts_at, wall=wall)
                house.live(until, say=say)
                say(f"{ways.slug}: reckoning it all again")
                wrong = differences(house.tenant.id, house.facts, until)
                found = [*house.left, *wrong]
                verdict.differences += [f"{ways.slug}: {one}" for one in found]
                _count(verdict, house)
                verdict.lines += _digest(digest, house.tenant.id)
    verdict.differences += complaints.found
    verdict.fingerprint = digest.hexdigest()[:16]
    verdict.cpu_seconds = int(process_time() - began)
    return verdict


def _ways(seed: int, customers: int) -> list[Ways]:
    third = customers // 3
    return [
        Ways(
            f"sim-{seed}-second",
            "second",
            timedelta(0),
            LateUsagePolicy.NEXT_INVOICE,
            TaxRounding.PER_RATE,
            third,
        ),
        Ways(
            f"sim-{seed}-day",
            "day",
            3 * _DAY,
            LateUsagePolicy.CREDIT_MEMO,
            TaxRounding.PER_RATE,
            third,
        ),
        Ways(
            f"sim-{seed}-month",
            "month_30",
            timedelta(0),
            LateUsagePolicy.NEXT_INVOICE,
            TaxRounding.PER_LINE,
            customers - 2 * third,
        ),
    ]


def _count(verdict: Verdict, house: House) -> None:
    entries = CreditTransaction.objects.filter(tenant=house.tenant)
    verdict.customers += len(house.buyers)
    verdict.subscriptions += len(house.facts.subscriptions)
    verdict.events += len(house.facts.events)
    verdict.amendments += len(house.facts.amendments)
    verdict.changes += house.asking.changes
    verdict.add_ons += house.adding.changes
    verdict.contracts += len(house.facts.contracts)
    verdict.taken_back += house.asking.taken_back
    verdict.wallets += len(house.facts.credit.wallets)
    verdict.grants += len(house.facts.credit.grants)
    verdict.movements += entries.count()
    verdict.refunds += house.repaying.refunds
    verdict.disputes += len(house.facts.disputes)
    verdict.clawed_back += entries.filter(reason__startswith="its money").count()
    verdict.coupons += len(house.facts.redemptions)
    verdict.late += house.traffic.late
    verdict.duplicates += house.traffic.duplicates
    verdict.conflicts += house.traffic.conflicts
    verdict.documents += Invoice.objects.filter(tenant=house.tenant).count()
    verdict.interruptions += house.trouble.interruptions
    verdict.failures += house.trouble.failures
    verdict.repeats += house.trouble.repeats


def _digest(digest: "hashlib._Hash", tenant_id: UUID) -> int:
    """Add the tenant's lines to the fingerprint; return how many come to something."""
    # what was billed and taken back again depends on when runs came
    lines = {key: amount for key, amount in billed_lines(tenant_id).items() if amount}
    for key, amount in sorted(lines.items()):
        digest.update(f"{key} {amount}\n".encode())
    return len(lines)
