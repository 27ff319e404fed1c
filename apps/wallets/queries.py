"""Reading wallets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import F, Prefetch, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from apps.core.errors import NotFound
from apps.core.ids import decode, is_id
from apps.customers.models import Customer
from apps.customers.queries import on_clock
from apps.wallets.domain import (
    UNPAID,
    ZERO,
    EntryKind,
    Forecast,
    GrantStatus,
    HoldStatus,
    MeterUnknown,
    forecast,
)
from apps.wallets.models import (
    CreditGrant,
    CreditHold,
    CreditPrice,
    CreditTransaction,
    CreditUnit,
    TopOffRule,
    Wallet,
)

# the pace of burning is that of so many days; nobody looks further ahead than so long
FORECAST_DAYS: Final = timedelta(days=30)
FARTHEST: Final = timedelta(days=5 * 366)


def wallets_of(tenant_id: UUID) -> QuerySet[Wallet]:
    """Return the tenant's wallets with what is shown beside them: unit, rule, next expiries."""
    live = Q(status=GrantStatus.AVAILABLE, remaining__gt=0) | Q(status__in=UNPAID)
    return (
        Wallet.objects.filter(tenant_id=tenant_id)
        .select_related("unit", "top_off", "customer")
        .prefetch_related(
            Prefetch(
                "grants",
                queryset=CreditGrant.objects.filter(live).order_by("expires_at", "id"),
                to_attr="live_grants",
            )
        )
    )


def grants_of(tenant_id: UUID) -> QuerySet[CreditGrant]:
    """Return the tenant's grants, with their wallets and units."""
    return CreditGrant.objects.filter(tenant_id=tenant_id).select_related(
        "wallet__unit", "wallet__customer"
    )


def holds_of(tenant_id: UUID) -> QuerySet[CreditHold]:
    """Return the tenant's holds, with their wallets and units."""
    return CreditHold.objects.filter(tenant_id=tenant_id).select_related(
        "wallet__unit", "wallet__customer"
    )


def transactions_of(tenant_id: UUID) -> QuerySet[CreditTransaction]:
    """Return the tenant's credit transactions, with their wallets, units and meters."""
    return CreditTransaction.objects.filter(tenant_id=tenant_id).select_related(
        "wallet__unit", "meter"
    )


def units_of(tenant_id: UUID) -> QuerySet[CreditUnit]:
    """Return the tenant's units of credit."""
    return CreditUnit.objects.filter(tenant_id=tenant_id)


def prices_of(tenant_id: UUID) -> QuerySet[CreditPrice]:
    """Return what meters take, in units and currencies."""
    return CreditPrice.objects.filter(tenant_id=tenant_id).select_related("meter", "unit")


def unit_named(tenant_id: UUID, name: str) -> CreditUnit:
    """Return the tenant's unit with this id or key; raise ``NotFound``."""
    rows = units_of(tenant_id)
    found = None
    if is_id(CreditUnit.ID_PREFIX, name):
        found = rows.filter(pk=decode(CreditUnit.ID_PREFIX, name)).first()
    found = found or rows.filter(key=name).first()
    if found is None:
        raise NotFound(f"There is no credit unit {name[:64]!r}.", field="unit")
    return found


def is_entered(wallet: Wallet, source_key: str) -> bool:
    """Say whether a wallet has transactions with this source."""
    return CreditTransaction.objects.filter(wallet=wallet, source_key=source_key).exists()


def entries_for(wallet: Wallet, kind: EntryKind, source_key: str) -> list[CreditTransaction]:
    """Return a wallet's transactions of one kind and source, in their order."""
    return list(
        CreditTransaction.objects.filter(wallet=wallet, kind=kind, source_key=source_key)
        .select_related("wallet__unit", "meter")
        .order_by("number")
    )


def parts_of(hold: CreditHold) -> list[tuple[UUID, Decimal]]:
    """Return of which grants how much is held, in the order in which it was taken."""
    entries = CreditTransaction.objects.filter(hold=hold, kind=EntryKind.HOLD).order_by("number")
    return [(one.grant_id, -one.amount) for one in entries if one.grant_id is not None]


# --- may this be spent? -------------------------------------------------------------------------

# One statement: the customer's time, his wallets in order, and what of each can be used. It tells
# what holds at its snapshot and locks nothing.
_SPENDABLE: Final = """
WITH payer AS (
  SELECT c.id, coalesce(own.now, shared.now, %(wall)s) AS at
  FROM customers_customer c
  JOIN tenants_tenant t ON t.id = c.tenant_id
  LEFT JOIN tenants_testclock own ON own.id = c.test_clock_id
  LEFT JOIN tenants_testclock shared ON shared.id = t.test_clock_id
  WHERE c.tenant_id = %(tenant)s
    AND (c.id = %(customer)s OR (%(customer)s::uuid IS NULL AND c.external_id = %(name)s)
         OR (%(customer)s::uuid IS NULL AND %(name)s::text IS NULL
             AND c.id = (SELECT customer_id FROM wallets_wallet
                         WHERE id = %(wallet)s AND tenant_id = %(tenant)s)))
)
SELECT w.id, coalesce(u.key, w.currency), w.overdraft_limit - w.overdrawn, g.credit, p.at,
       %(meter)s = '' OR EXISTS (SELECT FROM metering_meter m
                                 WHERE m.tenant_id = %(tenant)s AND m.key = %(meter)s)
FROM payer p
LEFT JOIN (wallets_wallet w LEFT JOIN wallets_creditunit u ON u.id = w.unit_id)
  ON w.customer_id = p.id AND w.tenant_id = %(tenant)s AND w.status <> 'closed'
 AND (%(wallet)s::uuid IS NULL OR w.id = %(wallet)s)
 AND (%(denomination)s::text IS NULL OR coalesce(u.key, w.currency) = %(denomination)s)
 AND (w.scope_products || w.scope_meters || w.scope_charges = '{}'
      OR w.scope_meters && ARRAY[%(meter)s::varchar])
LEFT JOIN LATERAL (
  SELECT coalesce(sum(g.remaining), 0) AS credit FROM wallets_creditgrant g
  WHERE g.wallet_id = w.id AND g.remaining > 0 AND g.status = 'available'
    AND g.effective_at <= p.at AND (g.expires_at IS NULL OR g.expires_at > p.at)
    AND (g.scope_products || g.scope_meters || g.scope_charges = '{}'
         OR g.scope_meters && ARRAY[%(meter)s::varchar])
) g ON true
ORDER BY w.priority, w.id
"""


@dataclass(frozen=True, slots=True)
class Room:
    """What can be spent in one wallet at an instant: credit that is there, and may be lent."""

    wallet_id: UUID
    denomination: str
    credit: Decimal
    lendable: Decimal

    @property
    def spendable(self) -> Decimal:
        """Both together."""
        return self.credit + self.lendable


def rooms(
    tenant_id: UUID,
    *,
    customer: str | None = None,
    wallet_id: UUID | None = None,
    denomination: str | None = None,
    meter: str = "",
    wall: datetime,
) -> list[Room]:
    """Return what can be spent now for a meter, wallet by wallet in the order of priority.

    Of one wallet or, by id or external id, of all of a customer in a unit or currency. In one
    query, without side effects. Raises ``NotFound`` and ``MeterUnknown``.
    """
    named = customer is not None and is_id(Customer.ID_PREFIX, customer)
    parameters = {
        "tenant": tenant_id,
        "customer": decode(Customer.ID_PREFIX, customer) if named and customer else None,
        "name": None if named else customer,
        "wallet": wallet_id,
        "denomination": denomination,
        "meter": meter,
        "wall": wall,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SPENDABLE, parameters)
        rows = cursor.fetchall()
    if not rows:
        raise NotFound(
            "There is no such wallet." if customer is None else "There is no such customer."
        )
    if not rows[0][-1]:
        raise MeterUnknown(f"There is no meter {meter!r}.", field="meter")
    return [
        Room(wallet, in_what, credit, lendable)
        for wallet, in_what, lendable, credit, *_ in rows
        if wallet is not None
    ]


# --- summaries ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expiring:
    """What expires next, and when."""

    amount: Decimal
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class CreditSummary:
    """All credit of a customer in one unit or currency."""

    denomination: str
    currency: str
    available: Decimal
    promotional: Decimal
    paid: Decimal
    held: Decimal
    pending: Decimal
    overdrawn: Decimal
    next_expiry: Expiring | None


def credit_summary(customer_id: UUID, *, at: datetime) -> list[CreditSummary]:
    """Return what a customer has at ``at``, by unit and currency in the order of their names.

    What has expired by then is not counted, though nobody may have written it off yet.
    """
    found: dict[str, list[Wallet]] = {}
    for wallet in Wallet.objects.filter(customer_id=customer_id).select_related("unit"):
        found.setdefault(wallet.denomination, []).append(wallet)
    grants: dict[UUID, list[CreditGrant]] = {}
    rows = CreditGrant.objects.filter(
        Q(remaining__gt=0) | Q(status__in=UNPAID), wallet__customer_id=customer_id
    )
    for grant in rows:
        grants.setdefault(grant.wallet_id, []).append(grant)
    return [
        _summary(name, wallets, [one for w in wallets for one in grants.get(w.id, ())], at)
        for name, wallets in sorted(found.items())
    ]


def _summary(
    name: str, wallets: Sequence[Wallet], grants: Sequence[CreditGrant], at: datetime
) -> CreditSummary:
    valid = [
        one for one in grants if one.remaining and (one.expires_at is None or one.expires_at > at)
    ]
    by_kind = {
        kind: sum((one.remaining for one in valid if one.kind == kind), ZERO)
        for kind in ("paid", "promotional")
    }
    ends = sorted({one.expires_at for one in valid if one.expires_at is not None})
    first = ends[0] if ends else None
    return CreditSummary(
        denomination=name,
        currency=wallets[0].currency,
        available=by_kind["paid"] + by_kind["promotional"],
        promotional=by_kind["promotional"],
        paid=by_kind["paid"],
        held=sum((one.held for one in wallets), ZERO),
        pending=sum((one.amount for one in grants if one.status in UNPAID), ZERO),
        overdrawn=sum((one.overdrawn for one in wallets), ZERO),
        next_expiry=Expiring(
            sum((one.remaining for one in valid if one.expires_at == first), ZERO), first
        )
        if first
        else None,
    )


def wallet_forecast(wallet: Wallet, *, at: datetime) -> Forecast:
    """Return when the wallet will be empty at the pace of the last thirty days, or since it began."""
    since = max(at - FORECAST_DAYS, wallet.created_at)
    used = CreditTransaction.objects.filter(
        wallet=wallet,
        kind__in=[EntryKind.CONSUME, EntryKind.RETURN],
        at__gte=since,
        at__lte=at,
    ).aggregate(total=Sum("amount"))["total"]
    return forecast(wallet.balance, -(used or ZERO), since=since, at=at, longest=FARTHEST)


def burned_by_day(wallet: Wallet, *, zone: str, at: datetime) -> list[tuple[date, Decimal]]:
    """Return what was used on each of the last thirty days of a time zone, today included."""
    today = at.astimezone(ZoneInfo(zone)).date()
    days = [today - timedelta(days=back) for back in reversed(range(FORECAST_DAYS.days))]
    rows = (
        CreditTransaction.objects.filter(
            wallet=wallet,
            kind__in=[EntryKind.CONSUME, EntryKind.RETURN],
            at__gte=datetime.combine(days[0], time(), tzinfo=ZoneInfo(zone)),
            at__lte=at,
        )
        .annotate(day=TruncDate("at", tzinfo=ZoneInfo(zone)))
        .values_list("day")
        .annotate(total=Sum("amount"))
        .order_by()
    )
    used = dict(rows)
    return [(day, -used.get(day, ZERO)) for day in days]


# --- what is due --------------------------------------------------------------------------------


def holds_due(at: datetime, clock_id: UUID | None, tenant_id: UUID) -> QuerySet[CreditHold]:
    """Return the open holds whose time is over by ``at``."""
    return CreditHold.objects.filter(
        on_clock(clock_id, "wallet__customer__"),
        tenant_id=tenant_id,
        status=HoldStatus.OPEN,
        expires_at__lte=at,
    )


def grants_due(at: datetime, clock_id: UUID | None, tenant_id: UUID) -> QuerySet[CreditGrant]:
    """Return the grants that begin, or whose time is over, by ``at``."""
    return CreditGrant.objects.filter(
        Q(status=GrantStatus.AVAILABLE, expires_at__lte=at)
        | Q(status=GrantStatus.SCHEDULED, effective_at__lte=at),
        on_clock(clock_id, "wallet__customer__"),
        tenant_id=tenant_id,
    )


def reminders_due(at: datetime, clock_id: UUID | None, tenant_id: UUID) -> QuerySet[CreditGrant]:
    """Return the grants of whose expiry somebody is to be reminded by ``at``."""
    return CreditGrant.objects.filter(
        on_clock(clock_id, "wallet__customer__"),
        tenant_id=tenant_id,
        status=GrantStatus.AVAILABLE,
        remind_at__lte=at,
    )


def wallets_low(at: datetime, clock_id: UUID | None, tenant_id: UUID) -> QuerySet[Wallet]:
    """Return the wallets below their watermark whose rule may act: nothing is under way for them."""
    resting = TopOffRule.objects.filter(Q(not_before__gt=at) | Q(paused_at__isnull=False)).values(
        "wallet_id"
    )
    busy = CreditGrant.objects.filter(status__in=UNPAID).values("wallet_id")
    low = Wallet.objects.filter(
        on_clock(clock_id, "customer__"),
        tenant_id=tenant_id,
        status="active",
        balance__lt=F("low_watermark"),
    )
    return low.exclude(id__in=resting).exclude(id__in=busy)


def grants_sold_by(invoice_ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """Return the grants that invoices sell, by the invoice."""
    sold = CreditGrant.objects.filter(invoice_id__in=list(invoice_ids))
    return {one.invoice_id: one.id for one in sold if one.invoice_id is not None}
