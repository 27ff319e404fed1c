"""Giving credit back to the grants that it was taken from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Max, Q, Sum

from apps.core.money import EXACT
from apps.ledger.domain import FactKind
from apps.wallets.domain import ZERO, EntryKind, GrantKind, Thing, WalletStatus
from apps.wallets.models import CreditGrant, CreditTransaction, Wallet
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.till import Till


def return_usage(till: Till, wallet: Wallet, credit: Decimal, purpose: Purpose) -> Decimal:
    """Give back up to ``credit`` of what events took for a meter and subscription; return how much.

    Those events happened at the latest when the one of ``purpose`` did, which takes usage back.
    What was taken last comes back first, to the grants that it came from; what has expired
    meanwhile expires at once. Of credit that had been lent, what is still owed is owed no more.
    """
    till.store()  # events before this one may have burned in the same till
    taken = list(
        CreditTransaction.objects.filter(
            wallet=wallet,
            meter=purpose.meter_id,
            subscription_id=purpose.subscription_id,
            event_id__isnull=False,
            used_at__lte=purpose.used_at,
        )
        .values_list("grant_id")
        .annotate(
            net=-Sum("amount"), last=Max("number", filter=Q(kind=EntryKind.CONSUME), default=0)
        )
        .order_by("-last")
    )
    grants = fetch(till, wallet, [one for one, _, _ in taken if one is not None])
    back = Back(till, wallet, purpose)
    for grant_id, net, _ in taken:
        wanted = min(EXACT.subtract(credit, back.amount), net)
        if wanted <= 0:
            continue
        if grant_id is None:
            back.lent(wanted)
        else:
            back.to(grants[grant_id], wanted)
    till.book(wallet, FactKind.CREDIT_BURNED, paid=-back.paid, promotional=-back.promotional)
    till.write_off_over(list(till.grants[wallet.id]), wallet, cause=purpose.source_key)
    return back.amount


@dataclass(frozen=True, slots=True)
class Voided:
    """An event that an amendment took out, and the number of what took it out."""

    event_id: UUID
    subscription_id: UUID | None
    used_at: datetime
    number: int


def return_voided(till: Till, voided: Sequence[Voided]) -> None:
    """Give back what events took that do not count any more, and store it; a repeat does nothing.

    The last burned comes back first, to the grants it came from; what has expired meanwhile expires
    at once. No more comes back than what events took that took no usage back. What such a one had
    given back is taken again, as far as there is credit.
    """
    by_event = {one.event_id: one for one in voided}
    took = list(
        CreditTransaction.objects.filter(wallet__in=till.wallets, event_id__in=by_event)
        .values_list("event_id", "wallet_id", "meter_id", "meter__key", "grant_id")
        .annotate(net=-Sum("amount"), last=Max("number"))
        .exclude(net=0)
        .order_by("wallet_id", "-last")
    )
    left = _taken_at_all(till, {(wallet, meter) for _, wallet, meter, *_ in took})
    causes: dict[UUID, str] = {}
    for event_id, wallet_id, meter_id, key, grant_id, net, _ in took:
        one, wallet = by_event[event_id], till.wallets[wallet_id]
        purpose = Purpose(
            source_key=f"{event_id.hex}:{meter_id.hex}:{one.number}",
            thing=Thing(meter=key),
            meter_id=meter_id,
            subscription_id=one.subscription_id,
            event_id=event_id,
            used_at=one.used_at,
        )
        if net < 0:
            if wallet.status != WalletStatus.CLOSED:
                till.spend(wallet, -net, purpose)
            continue
        whose = (wallet_id, meter_id, one.subscription_id)
        back = Back(till, wallet, purpose)
        wanted = min(net, left[whose])
        if wanted <= 0:
            continue
        if grant_id is None:
            back.lent(wanted)
        else:
            back.to(fetch(till, wallet, [grant_id])[grant_id], wanted)
        left[whose] = EXACT.subtract(left[whose], back.amount)
        till.book(wallet, FactKind.CREDIT_BURNED, paid=-back.paid, promotional=-back.promotional)
        causes[wallet_id] = purpose.source_key
    for wallet_id, cause in causes.items():
        till.write_off_over(list(till.grants[wallet_id]), till.wallets[wallet_id], cause=cause)
    till.store()


def _taken_at_all(
    till: Till, pairs: Iterable[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID, UUID | None], Decimal]:
    """Return what events took together, less what came back, by wallet, meter and subscription."""
    meters = {meter for _, meter in pairs}
    if not meters:
        return {}
    rows = (
        CreditTransaction.objects.filter(
            wallet__in=till.wallets, meter__in=meters, event_id__isnull=False
        )
        .values_list("wallet_id", "meter_id", "subscription_id")
        .annotate(net=-Sum("amount"))
        .order_by()
    )
    return {(wallet, meter, whose): net for wallet, meter, whose, net in rows}


class Back:
    """What comes back to one wallet for one purpose, and what it was worth.

    ``covers`` is the money of a line that comes back with it, below zero.
    """

    def __init__(
        self, till: Till, wallet: Wallet, purpose: Purpose, *, covers: Decimal = ZERO
    ) -> None:
        self.till, self.wallet, self.purpose = till, wallet, purpose
        self.covers = covers
        self.amount = self.paid = self.promotional = ZERO

    def to(self, grant: CreditGrant, wanted: Decimal, *, note: str = "") -> None:
        """Give back what may be of it to a grant; no more than was taken of that."""
        spent = EXACT.subtract(grant.amount, EXACT.add(grant.remaining, grant.held))
        amount = min(wanted, spent)
        if not amount:
            return
        purpose = replace(self.purpose, source_key=f"{self.purpose.source_key}{note}")
        value = self.till.give_back(self.wallet, grant, amount, purpose, covers=self.covers)
        self.covers = ZERO  # all of it is told once
        self.amount = EXACT.add(self.amount, amount)
        if grant.kind == GrantKind.PAID:
            self.paid = EXACT.add(self.paid, value)
        else:
            self.promotional = EXACT.add(self.promotional, value)

    def lent(self, wanted: Decimal) -> None:
        """Let what was lent be owed no more; what was paid back already goes to who paid it."""
        owed = self.wallet.overdrawn
        value = self.till.unlend(self.wallet, wanted, self.purpose, covers=self.covers)
        self.paid = EXACT.add(self.paid, value)
        lowered = EXACT.subtract(owed, self.wallet.overdrawn)
        if lowered:
            self.covers = ZERO
        self.amount = EXACT.add(self.amount, lowered)
        rest = EXACT.subtract(wanted, lowered)
        for grant in _that_paid_back(self.till, self.wallet) if rest else ():
            before = self.amount
            self.to(grant, rest, note=" lent")
            rest = EXACT.subtract(rest, EXACT.subtract(self.amount, before))


def fetch(till: Till, wallet: Wallet, grant_ids: Sequence[UUID]) -> dict[UUID, CreditGrant]:
    """Return grants of a wallet in hand, those too that have nothing left, by their ids."""
    known = till.grants[wallet.id]
    missing = [one for one in grant_ids if one not in known]
    if missing:
        known.update(CreditGrant.objects.filter(wallet=wallet).in_bulk(missing))
    return {one: known[one] for one in dict.fromkeys(grant_ids)}


def _that_paid_back(till: Till, wallet: Wallet) -> Iterable[CreditGrant]:
    """Return the grants that paid back what had been lent, the last first."""
    paid_back = CreditTransaction.objects.filter(
        wallet=wallet, kind=EntryKind.CONSUME, source_key__startswith="overdraft "
    )
    ids = [one.grant_id for one in paid_back.order_by("-number") if one.grant_id is not None]
    return fetch(till, wallet, ids).values()
