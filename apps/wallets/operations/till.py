"""The one place where credit moves: wallets in hand, what is done to them, stored in one go.

Whoever moves credit opens a till: it locks the wallets and first makes true what time has brought
about (credit that begins or has expired), so that nothing is ever spent at or after its expiry.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Q

from apps.core.locks import lock_rows
from apps.core.money import EXACT, plain
from apps.core.states import move_all
from apps.ledger.domain import FactKind
from apps.rating.burndown import Credit, Part, burn
from apps.wallets.domain import (
    GRANT_TRANSITIONS,
    ZERO,
    EntryKind,
    GrantKind,
    GrantStatus,
    Insufficient,
    Taken,
    Thing,
    WalletClosed,
    WalletStatus,
    value_left,
    worth,
)
from apps.wallets.models import CreditGrant, CreditHold, CreditUnit, Wallet
from apps.wallets.operations.entries import GRANT_FIGURES, Entries, Purpose
from apps.wallets.operations.terms import rate_of, share_out


class Till(Entries):
    """Locked wallets and their grants; ``store`` writes what was done to them."""

    def __init__(
        self,
        wallets: Sequence[Wallet],
        grants: Iterable[CreditGrant],
        *,
        actor: str,
        at: datetime,
    ) -> None:
        super().__init__(wallets, actor=actor, at=at)
        self.grants: dict[UUID, dict[UUID, CreditGrant]] = defaultdict(dict)
        for grant in grants:
            self.grants[grant.wallet_id][grant.id] = grant

    def spendable(self, wallet: Wallet, thing: Thing) -> Decimal:
        """Return how much of the wallet can be spent on a thing now, what may be lent included."""
        return EXACT.add(self.credit(wallet, thing), self._lendable_for(wallet, thing))

    def credit(self, wallet: Wallet, thing: Thing) -> Decimal:
        """Return how much credit of the wallet can be used for a thing now."""
        return sum((one.remaining for one in self._usable(wallet, thing)), ZERO)

    def spend(
        self, wallet: Wallet, amount: Decimal, purpose: Purpose, *, covers: Decimal | None = None
    ) -> Taken:
        """Take up to ``amount`` for a purpose, by the order of burning, then by overdraft.

        ``covers``: the money of an invoice that the amount pays; it is shared out among the
        transactions, and what is not paid comes back as ``short``.
        """
        burned = burn(amount, [_credit(one) for one in self._usable(wallet, purpose.thing)])
        lent = min(burned.short, self._lendable_for(wallet, purpose.thing))
        shares = share_out(covers, [part.amount for part in burned.parts], lent, amount)
        paid = promotional = ZERO
        for part, share in zip(burned.parts, shares, strict=False):
            grant = self.grants[wallet.id][part.credit_id]
            value = self.take(
                wallet, grant, part.amount, EntryKind.CONSUME, purpose, part=part, covers=share
            )
            if grant.kind == GrantKind.PAID:
                paid = EXACT.add(paid, value)
            else:
                promotional = EXACT.add(promotional, value)
        if lent:
            paid = EXACT.add(paid, self._lend(wallet, lent, purpose, covers=shares[-1]))
        short = EXACT.subtract(burned.short, lent)
        covered = sum(shares, ZERO)
        if short < amount:
            kind = FactKind.CREDIT_APPLIED if purpose.invoice_id else FactKind.CREDIT_BURNED
            self.book(wallet, kind, paid=paid, promotional=promotional, covers=covered)
        return Taken(wallet.id, EXACT.subtract(amount, short), covered, short)

    def take(
        self,
        wallet: Wallet,
        grant: CreditGrant,
        amount: Decimal,
        kind: EntryKind,
        purpose: Purpose,
        *,
        part: Part | None = None,
        covers: Decimal = ZERO,
    ) -> Decimal:
        """Take ``amount`` from what a grant has left, for good; return what that was worth."""
        left = EXACT.add(grant.remaining, grant.held)
        kept = value_left(grant.value, grant.amount, EXACT.subtract(left, amount))
        value = EXACT.subtract(grant.value_left, kept)
        grant.remaining = EXACT.subtract(grant.remaining, amount)
        grant.value_left = kept
        self.enter(wallet, grant, -amount, kind, purpose, value=-value, part=part, covers=covers)
        return value

    def usable(self, wallet: Wallet) -> list[CreditGrant]:
        """Return the grants of which something can be used now, whatever for."""
        return [
            one
            for one in self.grants[wallet.id].values()
            if one.status == GrantStatus.AVAILABLE and one.remaining > 0
        ]

    def take_back(self, wallet: Wallet, amount: Decimal, kind: EntryKind, purpose: Purpose) -> None:
        """Take ``amount``, which is there, in the order of burning, and give nothing for it."""
        for part in burn(amount, [_credit(one) for one in self.usable(wallet)]).parts:
            grant = self.grants[wallet.id][part.credit_id]
            value = self.take(wallet, grant, part.amount, kind, purpose, part=part)
            if grant.kind == GrantKind.PAID:
                self.book(wallet, FactKind.CREDIT_VOIDED, paid=value)

    def give_back(
        self,
        wallet: Wallet,
        grant: CreditGrant,
        amount: Decimal,
        purpose: Purpose,
        *,
        kind: EntryKind = EntryKind.RETURN,
        covers: Decimal = ZERO,
    ) -> Decimal:
        """Give back to a grant what was consumed of it, or disputed; return what that is worth."""
        left = EXACT.add(EXACT.add(grant.remaining, grant.held), amount)
        kept = value_left(grant.value, grant.amount, left)
        value = EXACT.subtract(kept, grant.value_left)
        grant.remaining = EXACT.add(grant.remaining, amount)
        grant.value_left = kept
        self.enter(wallet, grant, amount, kind, purpose, value=value, covers=covers)
        return value

    def put_aside(self, wallet: Wallet, hold: CreditHold, thing: Thing) -> None:
        """Move the amount of a hold from what can be spent to what is held; there is enough."""
        purpose = Purpose(source_key=hold.public_id, hold_id=hold.id, thing=thing)
        credits_ = [_credit(one) for one in self._usable(wallet, thing)]
        for part in burn(hold.amount, credits_).parts:
            grant = self.grants[wallet.id][part.credit_id]
            grant.remaining = EXACT.subtract(grant.remaining, part.amount)
            grant.held = EXACT.add(grant.held, part.amount)
            wallet.held = EXACT.add(wallet.held, part.amount)
            self.enter(wallet, grant, -part.amount, EntryKind.HOLD, purpose, part=part)

    def take_back_aside(
        self, wallet: Wallet, hold: CreditHold, parts: Sequence[tuple[UUID, Decimal]]
    ) -> None:
        """Move what a hold has put aside (grant, amount) back to what can be spent."""
        purpose = Purpose(source_key=hold.public_id, hold_id=hold.id)
        for grant_id, amount in parts:
            grant = self.grants[wallet.id][grant_id]
            grant.held = EXACT.subtract(grant.held, amount)
            grant.remaining = EXACT.add(grant.remaining, amount)
            wallet.held = EXACT.subtract(wallet.held, amount)
            self.enter(wallet, grant, amount, EntryKind.RELEASE, purpose)

    def begin(self, grants: Sequence[CreditGrant]) -> None:
        """Make grants of wallets in hand available; what is not effective yet is scheduled.

        Credit that was lent is paid back from them first.
        """
        later = [one for one in grants if one.effective_at > self.at]
        move_all(
            later,
            to=GrantStatus.SCHEDULED,
            allowed=GRANT_TRANSITIONS,
            actor=self.actor,
            at=self.at,
            also=("effective_at", "expires_at", "remind_at"),
        )
        now = [one for one in grants if one.effective_at <= self.at]
        for grant in now:
            wallet = self.wallets[grant.wallet_id]
            self.grants[wallet.id][grant.id] = grant
            grant.available_at, grant.remaining = self.at, grant.amount
            grant.value_left = grant.value
            self.enter(
                wallet,
                grant,
                grant.amount,
                EntryKind.GRANT,
                Purpose(source_key=grant.public_id),
                value=grant.value,
            )
            if grant.kind == GrantKind.PAID:
                self.book(wallet, FactKind.CREDIT_ACTIVATED, paid=grant.value)
            if wallet.overdrawn:
                self._pay_back(wallet, grant)
            if wallet.shortfall:
                wallet.short_since, wallet.shortfall = None, ZERO
                wallet.short_subscriptions = []
                self._short[wallet.id] = wallet
                self.tell("wallet.covered", wallet)
        move_all(
            now,
            to=GrantStatus.AVAILABLE,
            allowed=GRANT_TRANSITIONS,
            actor=self.actor,
            at=self.at,
            also=(*GRANT_FIGURES, "available_at", "effective_at", "expires_at", "remind_at"),
        )

    def make_true(self) -> None:
        """Begin what is effective by now, and expire what is not valid any more."""
        known = [one for grants in self.grants.values() for one in grants.values()]
        self.begin(
            [
                one
                for one in known
                if one.status == GrantStatus.SCHEDULED and one.effective_at <= self.at
            ]
        )
        self.expire(
            [
                one
                for one in known
                if one.status == GrantStatus.AVAILABLE
                and one.expires_at is not None
                and one.expires_at <= self.at
            ]
        )

    def expire(self, grants: Sequence[CreditGrant]) -> None:
        """Write off what available grants have left; what is held stays until its hold ends."""
        for grant in grants:
            self.write_off(grant, cause="")
        move_all(
            grants,
            to=GrantStatus.EXPIRED,
            allowed=GRANT_TRANSITIONS,
            actor=self.actor,
            at=self.at,
            also=GRANT_FIGURES,
        )

    def write_off(self, grant: CreditGrant, *, cause: str) -> None:
        """Write off the rest of a grant whose time is over; ``cause`` tells why it had any."""
        wallet = self.wallets[grant.wallet_id]
        if not grant.remaining:
            return
        purpose = Purpose(source_key=f"{grant.public_id}{cause and f' {cause}'}")
        value = self.take(wallet, grant, grant.remaining, EntryKind.EXPIRE, purpose)
        if grant.kind == GrantKind.PAID:
            self.book(wallet, FactKind.CREDIT_EXPIRED, paid=value)

    def write_off_over(self, grant_ids: Iterable[UUID], wallet: Wallet, *, cause: str) -> None:
        """Write off what came back to grants that are over already."""
        for grant_id in dict.fromkeys(grant_ids):
            grant = self.grants[wallet.id][grant_id]
            if grant.status != GrantStatus.AVAILABLE:
                self.write_off(grant, cause=cause)

    def unlend(
        self, wallet: Wallet, amount: Decimal, purpose: Purpose, *, covers: Decimal = ZERO
    ) -> Decimal:
        """Take back credit that was lent for something canceled; return what it is worth.

        What has been paid back in the meantime is not lent any more and cannot be.
        """
        amount = min(amount, wallet.overdrawn)
        if not amount:
            return ZERO
        value = self._lower_overdraft(wallet, amount)
        self.enter(wallet, None, amount, EntryKind.RETURN, purpose, value=value, covers=covers)
        return value

    def lend_back(
        self, wallet: Wallet, amount: Decimal, purpose: Purpose
    ) -> tuple[Decimal, Decimal]:
        """Lend what the wallet may owe of ``amount``; return how much that is, and its worth.

        For credit that was used and whose money goes back. The caller books it.
        """
        lent = min(amount, max(self._lendable(wallet), ZERO))
        if not lent:
            return ZERO, ZERO
        return lent, self._lend(wallet, lent, purpose, covers=ZERO)

    def fall_short(
        self, wallet: Wallet, amount: Decimal, subscription_ids: Iterable[UUID], **told: str
    ) -> None:
        """Note whose usage could not be covered; say so of each once, until credit comes."""
        new = set(subscription_ids) - set(wallet.short_subscriptions)
        if wallet.short_since is None or new:
            self.tell("wallet.short", wallet, amount=plain(amount), **told)
        wallet.short_since = wallet.short_since or self.at
        wallet.short_subscriptions = [*wallet.short_subscriptions, *sorted(new)]
        wallet.shortfall = EXACT.add(wallet.shortfall, amount)
        self._short[wallet.id] = wallet

    # --- inside -------------------------------------------------------------------------------

    def _usable(self, wallet: Wallet, thing: Thing) -> list[CreditGrant]:
        if not wallet.scope.covers(replace(thing, by_name=False)):
            return []
        return [one for one in self.usable(wallet) if one.scope.covers(thing)]

    def _lendable_for(self, wallet: Wallet, thing: Thing) -> Decimal:
        """Return what may be lent for a thing: nothing for what the wallet itself is not for."""
        return self._lendable(wallet) if wallet.scope.covers(thing) else ZERO

    def _lendable(self, wallet: Wallet) -> Decimal:
        if wallet.insufficient != Insufficient.OVERDRAFT:
            return ZERO
        return EXACT.subtract(wallet.overdraft_limit, wallet.overdrawn)

    def _lend(
        self, wallet: Wallet, amount: Decimal, purpose: Purpose, *, covers: Decimal
    ) -> Decimal:
        value = worth(amount, rate_of(wallet))
        wallet.overdrawn = EXACT.add(wallet.overdrawn, amount)
        wallet.overdrawn_value = EXACT.add(wallet.overdrawn_value, value)
        self.enter(wallet, None, -amount, EntryKind.CONSUME, purpose, value=-value, covers=covers)
        return value

    def _lower_overdraft(self, wallet: Wallet, amount: Decimal) -> Decimal:
        kept = value_left(
            wallet.overdrawn_value, wallet.overdrawn, EXACT.subtract(wallet.overdrawn, amount)
        )
        value = EXACT.subtract(wallet.overdrawn_value, kept)
        wallet.overdrawn = EXACT.subtract(wallet.overdrawn, amount)
        wallet.overdrawn_value = kept
        return value

    def _pay_back(self, wallet: Wallet, grant: CreditGrant) -> None:
        amount = min(wallet.overdrawn, grant.remaining)
        purpose = Purpose(source_key=f"overdraft {grant.public_id}")
        spent = self.take(wallet, grant, amount, EntryKind.CONSUME, purpose)
        lent = self._lower_overdraft(wallet, amount)
        self.enter(wallet, None, amount, EntryKind.OVERDRAFT, purpose, value=lent)
        is_paid = grant.kind == GrantKind.PAID
        self.book(
            wallet,
            FactKind.CREDIT_BURNED,
            paid=EXACT.subtract(spent if is_paid else ZERO, lent),
            promotional=ZERO if is_paid else spent,
        )


def open_till(
    wallet_ids: Iterable[UUID],
    *,
    tenant_id: UUID,
    also: Iterable[UUID] = (),
    actor: str,
    at: datetime,
) -> Till:
    """Lock wallets of the tenant, in the caller's transaction, and make true what time brought.

    ``also``: grants that are needed though nothing is left of them. Wallets that do not exist
    are not there.
    """
    wallets = lock_rows(Wallet, wallet_ids, tenant_id=tenant_id)
    needed = (
        Q(remaining__gt=0)
        | Q(held__gt=0)
        | Q(status=GrantStatus.SCHEDULED, effective_at__lte=at)
        | Q(status=GrantStatus.AVAILABLE, expires_at__lte=at)
    )
    extra = list(also)
    if extra:
        needed |= Q(id__in=extra)
    grants = CreditGrant.objects.filter(needed, wallet__in=[one.id for one in wallets])
    units = {one.unit_id for one in wallets if one.unit_id is not None}
    if units:
        known = CreditUnit.objects.in_bulk(list(units))
        for wallet in wallets:
            wallet.unit = known.get(wallet.unit_id) if wallet.unit_id else None
    till = Till(wallets, grants, actor=actor, at=at)
    till.make_true()
    till.store()  # so that whoever finds nothing more to do may leave
    return till


def refuse_closed(wallet: Wallet) -> None:
    """Raise ``WalletClosed`` if nothing can be done with the wallet any more."""
    if wallet.status == WalletStatus.CLOSED:
        raise WalletClosed(f"{wallet.public_id} is closed.")


def _credit(grant: CreditGrant) -> Credit:
    return Credit(
        id=grant.id,
        left=grant.remaining,
        priority=grant.priority,
        expires_at=grant.expires_at,
        promotional=grant.kind == GrantKind.PROMOTIONAL,
        since=grant.effective_at,
    )
