"""Prepaid credit of customers who pay tax: bought with tax or without, for what no invoice asks.

How much tax credit pays on an invoice is not reckoned here, so this credit is for a meter that no
plan has: it is held, given back and disputed, and expires.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import Facts
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.saving import Saving
from apps.backoffice.simulation.traffic import Buyer
from apps.metering.operations import create_meter
from apps.rating.aggregation import Aggregation
from apps.tenants.domain import CreditTaxed
from apps.tenants.operations import change_tenant
from apps.wallets.models import CreditUnit

ACTOR: Final = "system:simulation"
_METER: Final = "vouchers"


class Vouching(Saving):
    """Acts on the wallets of those customers of one tenant who pay tax."""

    def __init__(
        self, dice: Dice, trouble: Trouble, tenant_id: UUID, facts: Facts, unit: CreditUnit
    ) -> None:
        super().__init__(dice, trouble, tenant_id, facts.credit)
        self.unit, self._all = unit, facts

    def found(self, at: datetime) -> None:
        """Make the meter, and say whether purchases of credit are taxed."""
        create_meter(
            self.tenant_id,
            id=self.dice.id(),
            key=_METER,
            name=_METER,
            event_name=_METER,
            aggregation=Aggregation.COUNT,
            actor=ACTOR,
            at=at,
        )
        self._all.taxes_credit = self.dice.often(60)
        if self._all.taxes_credit:
            change_tenant(self.tenant_id, credit_taxed=CreditTaxed.ON_PURCHASE, actor=ACTOR, at=at)

    def act(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let a customer open a wallet, or do something with one there is."""
        taxed = [one for one in buyers if one.haggles and one.subscriptions]
        if taxed and self.dice.often(max(30 - 2 * len(self._wallets), 2)):
            self._open(self.dice.choice(taxed), at, pays_events=False)
        if self._wallets and self.dice.often(40):
            self._act_on(self.dice.choice(self._wallets), at)

    def _scope(self) -> tuple[str, ...]:
        return (_METER,)
