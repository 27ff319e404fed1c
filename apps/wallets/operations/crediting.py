"""Giving back as credit what credit had paid of lines that are corrected."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db.models import Max, Sum

from apps.core.ids import encode
from apps.core.money import EXACT
from apps.ledger.domain import FactKind
from apps.wallets.domain import ZERO, refundable, value_left
from apps.wallets.models import CreditTransaction
from apps.wallets.operations.asking import Asking, Line
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.returning import Back, fetch
from apps.wallets.operations.till import Till


class _Paid(NamedTuple):
    """What one grant, or what was lent, paid of a line: credit, the money it covered, and when."""

    wallet_id: UUID
    grant_id: UUID | None
    amount: Decimal
    covers: Decimal
    number: int


class Crediting:
    """What credit has paid of the lines that documents correct, in wallets that are in hand."""

    def __init__(self, till: Till, asking: Sequence[Asking]) -> None:
        self._till = till
        self._paid: dict[UUID, list[_Paid]] = defaultdict(list)
        earlier = {line_id for one in asking for line in one.lines for line_id in line.earlier}
        if not earlier:
            return
        rows = (
            CreditTransaction.objects.filter(wallet__in=till.wallets, line_id__in=earlier)
            .values_list("line_id", "wallet_id", "grant_id")
            .annotate(amount=-Sum("amount"), money=Sum("covers"), last=Max("number"))
            .order_by()
        )
        for line_id, *paid in rows:
            self._paid[line_id].append(_Paid(*paid))

    def give_back(self, one: Asking, line: Line, most: Decimal) -> Decimal:
        """Give back what credit had paid of the lines that one corrects; return its money.

        At most ``most``, the last taken first, to the grants that it came from; what has expired
        meanwhile expires at once.
        """
        parts = self._parts(line)
        wanted = refundable(min(most, sum((part.covers for part in parts), ZERO)), one.currency)
        if wanted <= 0:
            return ZERO
        left, wallets = wanted, {}
        for part in parts:
            money = min(left, part.covers)
            if money > 0:
                wallets[part.wallet_id] = self._till.wallets[part.wallet_id]
                self._give(one, line, part, money)
                left = EXACT.subtract(left, money)
        # once: a grant may get back what it paid, and what it had paid back of what was lent
        for wallet in wallets.values():
            grants = list(self._till.grants[wallet.id])
            self._till.write_off_over(grants, wallet, cause=encode("lin", line.id))
        return wanted

    def _parts(self, line: Line) -> list[_Paid]:
        """Return what paid the lines together, in the reverse of the order of paying."""
        found: dict[tuple[UUID, UUID | None], _Paid] = {}
        for line_id in line.earlier:
            for part in self._paid.get(line_id, ()):
                key = (part.wallet_id, part.grant_id)
                before = found.get(key)
                found[key] = part if before is None else _together(before, part)
        wallets = self._till.wallets
        return sorted(
            found.values(),
            key=lambda part: (wallets[part.wallet_id].priority, part.wallet_id, part.number),
            reverse=True,
        )

    def _give(self, one: Asking, line: Line, part: _Paid, money: Decimal) -> None:
        till, wallet = self._till, self._till.wallets[part.wallet_id]
        kept = value_left(part.amount, part.covers, EXACT.subtract(part.covers, money))
        credit = EXACT.subtract(part.amount, kept)
        purpose = Purpose(
            source_key=encode("lin", line.id),
            thing=line.thing,
            meter_id=line.meter_id,
            subscription_id=line.subscription_id,
            invoice_id=one.invoice_id,
            line_id=line.id,
        )
        back = Back(till, wallet, purpose, covers=-money)
        if part.grant_id is None:
            back.lent(credit)
        else:
            back.to(fetch(till, wallet, [part.grant_id])[part.grant_id], credit)
        till.book(
            wallet,
            FactKind.CREDIT_RETURNED,
            paid=back.paid,
            promotional=back.promotional,
            covers=money,
        )


def _together(one: _Paid, other: _Paid) -> _Paid:
    return one._replace(
        amount=EXACT.add(one.amount, other.amount),
        covers=EXACT.add(one.covers, other.covers),
        number=max(one.number, other.number),
    )
