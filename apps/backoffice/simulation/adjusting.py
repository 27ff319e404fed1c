"""What operators set right by hand in wallets: more, less, and gifts that are not to begin."""

from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import CreditFacts, GrantFact, TakenFact, WalletFact
from apps.backoffice.simulation.faults import Trouble
from apps.wallets.domain import GrantKind, GrantStatus, InsufficientCredit
from apps.wallets.models import CreditGrant, Wallet
from apps.wallets.operations.adjusting import adjust_wallet
from apps.wallets.operations.granting import void_grant

ACTOR: Final = "operator:simulation"
REASON: Final = "set right by hand"
_PRIORITY: Final = 50  # of what nobody has given another one


class Adjusting:
    """Acts on the wallets of one tenant as its operators do."""

    def __init__(self, dice: Dice, trouble: Trouble, tenant_id: UUID, facts: CreditFacts) -> None:
        self.dice, self.trouble, self.tenant_id, self.facts = dice, trouble, tenant_id, facts

    def act(self, at: datetime) -> None:
        """Set a wallet right now and then."""
        if not self.facts.wallets or not self.dice.often(30):
            return
        wallet = self.dice.choice(self.facts.wallets)
        deed = self.dice.choice((self._raise, *[self._lower] * 2, self._void_rest, self._call_off))
        deed(wallet, at)

    def _raise(self, wallet: WalletFact, at: datetime) -> None:
        places = min(wallet.places, 2)
        amount = Decimal(self.dice.randrange(1, 40 * 10**places)).scaleb(-places)
        chosen = self.dice.id()
        self._adjust(wallet, chosen, amount, at)
        self.facts.grants[chosen] = GrantFact(
            id=chosen,
            wallet=wallet.id,
            paid=False,
            amount=amount,
            value=amount if wallet.rate is None else amount * wallet.rate,
            priority=_PRIORITY,
            meters=(),
            begins_at=at,
            expires_at=None,
            lasts_months=None,
            asked_at=at,
        )

    def _lower(self, wallet: WalletFact, at: datetime) -> None:
        """Take some of what there is, whatever it is for; ask for more than that now and then."""
        there = sum((one.remaining for one in self._with_credit(wallet)), Decimal(0))
        unit = Decimal(1).scaleb(-wallet.places)
        part = there * self.dice.randrange(1, 101) / 100
        amount = max(part.quantize(unit, ROUND_DOWN), unit)
        if self.dice.often(10):
            amount += there.quantize(unit, ROUND_DOWN)
        chosen = self.dice.id()
        try:
            self._adjust(wallet, chosen, -amount, at)
        except InsufficientCredit:
            if amount <= there:
                raise
            return
        if amount > there:
            raise AssertionError(f"{amount} was taken of {there}")
        self.facts.adjusted[chosen] = TakenFact(chosen, wallet.id, amount, "", at)

    def _adjust(self, wallet: WalletFact, chosen: UUID, amount: Decimal, at: datetime) -> None:
        def adjust() -> Wallet:
            return adjust_wallet(
                wallet.id,
                id=chosen,
                tenant_id=self.tenant_id,
                amount=amount,
                reason=REASON,
                actor=ACTOR,
                at=at,
            )

        self.trouble.survive(adjust)

    def _void_rest(self, wallet: WalletFact, at: datetime) -> None:
        found = self._with_credit(wallet)
        if not found:
            return
        grant = self.dice.choice(found)
        fact = TakenFact(self.dice.id(), grant.id, grant.remaining, "", at)
        self._void(grant, fact.id, at)
        self.facts.taken[fact.id] = fact

    def _call_off(self, wallet: WalletFact, at: datetime) -> None:
        """Void a gift that has not begun."""
        rows = CreditGrant.objects.filter(
            wallet=wallet.id, status=GrantStatus.SCHEDULED, effective_at__gt=at
        ).exclude(kind=GrantKind.PAID)
        found = sorted(rows, key=lambda one: (one.created_at, one.amount, one.id))
        if found:
            grant = self.dice.choice(found)
            self._void(grant, self.dice.id(), at)
            self.facts.called_off.add(grant.id)

    def _void(self, grant: CreditGrant, chosen: UUID, at: datetime) -> None:
        self.trouble.survive(
            lambda: void_grant(
                grant.id,
                id=chosen,
                tenant_id=self.tenant_id,
                reason=REASON,
                actor=ACTOR,
                at=at,
            )
        )

    def _with_credit(self, wallet: WalletFact) -> list[CreditGrant]:
        rows = CreditGrant.objects.filter(wallet=wallet.id, status=GrantStatus.AVAILABLE)
        return sorted(
            rows.filter(remaining__gt=0), key=lambda one: (one.created_at, one.amount, one.id)
        )
