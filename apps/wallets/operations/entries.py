"""What moves in wallets, written down: figures, transactions, the books and the audit trail."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.core.bulk import insert_rows, save_rows
from apps.core.events import Happening, record_all
from apps.core.failpoints import failpoint
from apps.core.ids import new_id
from apps.core.money import EXACT
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all
from apps.rating.burndown import Part
from apps.wallets.domain import ANYTHING, ZERO, EntryKind, Thing
from apps.wallets.models import CreditGrant, CreditHold, CreditTransaction, Wallet

_WALLET_FIGURES: Final = ("balance", "held", "overdrawn", "overdrawn_value", "entries")
_SHORT_FIGURES: Final = ("short_since", "shortfall", "short_subscriptions")
GRANT_FIGURES: Final = ("remaining", "held", "value_left")
_COLUMNS: Final = (
    "id", "tenant_id", "wallet_id", "number", "kind", "grant_id", "hold_id", "amount",
    "balance_after", "grant_after", "value", "covers", "source_key", "meter_id", "subscription_id",
    "event_id", "used_at", "invoice_id", "line_id", "reason", "place", "places", "because",
    "actor", "at",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What credit moves for; ``source_key`` is its identity, the same whenever it is told again."""

    source_key: str
    thing: Thing = ANYTHING
    meter_id: UUID | None = None
    subscription_id: UUID | None = None
    event_id: UUID | None = None
    used_at: datetime | None = None
    invoice_id: UUID | None = None
    line_id: UUID | None = None
    hold_id: UUID | None = None
    reason: str = ""


@dataclass(slots=True)
class _Booked:
    """What one kind of fact amounts to for one wallet, since the first of its transactions."""

    number: int
    paid: Decimal = ZERO
    promotional: Decimal = ZERO
    covers: Decimal = ZERO


class Entries:
    """Collects what moves in wallets that are in hand; ``store`` writes it in one go."""

    def __init__(self, wallets: Sequence[Wallet], *, actor: str, at: datetime) -> None:
        self.actor, self.at = actor, at
        self.wallets = {one.id: one for one in wallets}
        self._entries: list[tuple[object, ...]] = []
        self.happenings: list[Happening] = []
        self._touched: dict[UUID, CreditGrant] = {}
        self._changed: dict[UUID, Wallet] = {}
        self._short: dict[UUID, Wallet] = {}
        self._booked: dict[tuple[UUID, FactKind], _Booked] = {}

    def enter(
        self,
        wallet: Wallet,
        grant: CreditGrant | None,
        amount: Decimal,
        kind: EntryKind,
        purpose: Purpose,
        *,
        value: Decimal = ZERO,
        part: Part | None = None,
        covers: Decimal = ZERO,
    ) -> None:
        """Move ``amount``, with its sign, into the wallet; the grant has been changed by it."""
        wallet.balance = EXACT.add(wallet.balance, amount)
        wallet.entries += 1
        self._changed[wallet.id] = wallet
        if grant is not None:
            self._touched[grant.id] = grant
        # as plain values, in the order of the columns: a model's instance costs ten times as much
        self._entries.append(
            (
                new_id(),
                wallet.tenant_id,
                wallet.id,
                wallet.entries,
                kind.value,
                grant.id if grant else None,
                purpose.hold_id,
                amount,
                wallet.balance,
                grant.remaining if grant else None,
                value,
                covers,
                purpose.source_key,
                purpose.meter_id,
                purpose.subscription_id,
                purpose.event_id,
                purpose.used_at,
                purpose.invoice_id,
                purpose.line_id,
                purpose.reason,
                part.place if part else None,
                part.of if part else None,
                part.because.value if part else "",
                self.actor,
                self.at,
            )
        )

    def tell(self, event: str, subject: Wallet | CreditGrant | CreditHold, **told: str) -> None:
        """Record an event with what is stored."""
        self.happenings.append(
            Happening(event, subject.tenant_id, subject.ID_PREFIX, subject.id, told)
        )

    def book(
        self,
        wallet: Wallet,
        kind: FactKind,
        *,
        paid: Decimal = ZERO,
        promotional: Decimal = ZERO,
        covers: Decimal = ZERO,
    ) -> None:
        """Add to what the books will hear of the wallet, if anything: one fact of each kind.

        What it is about has been entered: the fact is known by its first transaction.
        """
        if not (paid or promotional or covers):
            return
        booked = self._booked.setdefault((wallet.id, kind), _Booked(wallet.entries))
        booked.paid = EXACT.add(booked.paid, paid)
        booked.promotional = EXACT.add(booked.promotional, promotional)
        booked.covers = EXACT.add(booked.covers, covers)

    def store(self) -> None:
        """Write everything in the caller's transaction: figures, transactions, books, events."""
        save_rows(list(self._touched.values()), GRANT_FIGURES)
        save_rows(list(self._changed.values()), _WALLET_FIGURES)
        Wallet.objects.bulk_update(self._short.values(), _SHORT_FIGURES, batch_size=500)
        failpoint("wallets.store.after_figures")
        if self._entries:
            columns = map(list, zip(*self._entries, strict=True))
            insert_rows(CreditTransaction, dict(zip(_COLUMNS, columns, strict=True)))
        failpoint("wallets.store.after_entries")
        post_all([entry_for(fact) for fact in self._facts()], at=self.at)
        record_all(self.happenings, actor=self.actor, at=self.at)
        self._entries, self.happenings = [], []
        self._touched, self._changed, self._short, self._booked = {}, {}, {}, {}

    def _facts(self) -> list[Fact]:
        facts = []
        for (wallet_id, kind), booked in self._booked.items():
            wallet = self.wallets[wallet_id]
            facts.append(
                Fact(
                    kind=kind,
                    tenant_id=wallet.tenant_id,
                    source_key=f"{wallet.public_id}:{booked.number}",
                    effective_at=self.at,
                    currency=wallet.currency,
                    customer_id=wallet.customer_id,
                    amounts=_amounts(kind, booked),
                )
            )
        return facts


def _amounts(kind: FactKind, booked: _Booked) -> dict[Amount, Decimal]:
    used = EXACT.add(booked.paid, booked.promotional)
    match kind:
        case FactKind.CREDIT_BURNED:
            return {
                Amount.PAID: booked.paid,
                Amount.PROMOTIONAL: booked.promotional,
                Amount.USED: used,
            }
        case FactKind.CREDIT_APPLIED | FactKind.CREDIT_RETURNED:
            return {
                Amount.PAID: booked.paid,
                Amount.PROMOTIONAL: booked.promotional,
                Amount.DISCOUNT: EXACT.subtract(booked.covers, used),
                Amount.MOVED: booked.covers,
            }
        case _:
            return {Amount.PAID: booked.paid}
