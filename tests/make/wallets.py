"""Wallets and credit for tests, made by the operations."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.ledger.domain import AccountKind, AccountRef
from apps.ledger.invariants import RULES as LEDGER_RULES
from apps.ledger.queries import account_balance
from apps.metering.models import Meter
from apps.tenants.models import Tenant
from apps.wallets.domain import GrantKind, Scope
from apps.wallets.invariants import RULES
from apps.wallets.models import CreditGrant, CreditHold, CreditPrice, CreditUnit, Wallet
from apps.wallets.operations.burning import burn_usage
from apps.wallets.operations.granting import grant_credit
from apps.wallets.operations.purchasing import note_invoice, purchase_credit, settle_purchase
from apps.wallets.operations.spending import consume_credit, place_hold
from apps.wallets.operations.wallets import create_unit, create_wallet, price_meter
from tests.make.customers import make_customer
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.servers import as_superuser

DAY = timedelta(days=1)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


@in_its_scope
def make_unit(tenant: Tenant, key: str = "tokens", rate: str = "0.01", **values: Any) -> CreditUnit:
    """Return a new unit of credit, whole ones, worth a cent each unless said."""
    return create_unit(
        tenant.id,
        id=new_id(),
        key=key,
        rate=Decimal(rate),
        actor=ACTOR,
        at=AT,
        **{"name": key, "precision": 0, "currency": "USD", **values},
    )


@in_its_scope
def make_price(meter: Meter, price: str, unit: CreditUnit | None = None) -> CreditPrice:
    """Let the events of a meter burn credit, in the unit or else in USD."""
    return price_meter(
        meter,
        id=new_id(),
        unit=unit,
        currency="" if unit else "USD",
        price=Decimal(price),
        actor=ACTOR,
        at=AT,
    )


def make_wallet(customer: Customer | None = None, *, at: datetime = AT, **values: Any) -> Wallet:
    """Return a new empty wallet, of a new customer unless one is given."""
    owner = customer or make_customer(make_tenant())
    with tenant_scope(owner.tenant_id):
        return create_wallet(
            owner.id, id=new_id(), tenant_id=owner.tenant_id, actor=ACTOR, at=at, **values
        )


@in_its_scope
def make_grant(
    wallet: Wallet, amount: str = "10.00", *, at: datetime = AT, **values: Any
) -> CreditGrant:
    """Give the wallet promotional credit."""
    return grant_credit(
        wallet.id,
        id=new_id(),
        tenant_id=wallet.tenant_id,
        amount=Decimal(amount),
        actor=ACTOR,
        at=at,
        **values,
    )


@in_its_scope
def make_paid(
    wallet: Wallet, amount: str = "10.00", *, at: datetime = AT, **values: Any
) -> CreditGrant:
    """Give the wallet credit that was paid by an invoice of which wallets only know the id."""
    pending = make_pending(wallet, amount, at=at, **values)
    settled = settle_purchase(pending.invoice_id or new_id(), actor=ACTOR, at=at)
    assert settled is not None
    return settled


@in_its_scope
def make_pending(
    wallet: Wallet, amount: str = "10.00", *, at: datetime = AT, **values: Any
) -> CreditGrant:
    """Ask for credit to be bought; its invoice is out."""
    grant = purchase_credit(
        wallet.id,
        id=new_id(),
        tenant_id=wallet.tenant_id,
        amount=Decimal(amount),
        actor=ACTOR,
        at=at,
        **values,
    )
    note_invoice(grant.id, new_id(), tenant_id=wallet.tenant_id, actor=ACTOR, at=at)
    return CreditGrant.objects.get(pk=grant.pk)


@in_its_scope
def make_credit(wallet: Wallet, kind: GrantKind, amount: str, **values: Any) -> CreditGrant:
    """Give the wallet credit of one kind."""
    make = make_paid if kind is GrantKind.PAID else make_grant
    return make(wallet, amount, **values)


@in_its_scope
def spend(wallet: Wallet, amount: str, *, at: datetime = AT, **values: Any) -> list[Decimal]:
    """Consume credit; return what each transaction took."""
    entries = consume_credit(
        wallet.id,
        id=values.pop("id", None) or new_id(),
        tenant_id=wallet.tenant_id,
        amount=Decimal(amount),
        actor=ACTOR,
        at=at,
        **values,
    )
    return [-one.amount for one in entries]


@in_its_scope
def hold(
    wallet: Wallet, amount: str, *, at: datetime = AT, lasts: timedelta = DAY, **values: Any
) -> CreditHold:
    """Put credit aside for a day."""
    return place_hold(
        wallet.id,
        id=values.pop("id", None) or new_id(),
        tenant_id=wallet.tenant_id,
        amount=Decimal(amount),
        expires_at=at + lasts,
        actor=ACTOR,
        at=at,
        **values,
    )


@in_its_scope
def fresh_wallet(wallet: Wallet) -> Any:
    """Return the wallet as the database has it."""
    return Wallet.objects.select_related("unit").get(pk=wallet.pk)


@in_its_scope
def fresh_grant(grant: CreditGrant) -> Any:
    """Return the grant as the database has it."""
    return CreditGrant.objects.get(pk=grant.pk)


def for_meters(*keys: str) -> Scope:
    """Return the scope of some meters."""
    return Scope(meters=keys)


@in_its_scope
def booked(tenant: Tenant, *kinds: AccountKind) -> list[Decimal]:
    """Return the balances of accounts in USD: debit positive."""
    return [account_balance(tenant.id, AccountRef(kind, "USD")) for kind in kinds]


def burn_all(wall: datetime = AT) -> None:
    """Let the reader burn for every event and amendment there is, however long neighbours hold it back."""
    for _ in range(2400):
        burn_usage(wall=wall)
        with as_superuser(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM wallets_burnfrontier f"
                " WHERE EXISTS (SELECT FROM metering_usageevent e"
                "               WHERE e.ingest_xid >= f.below_xid::text::xid8)"
                " OR EXISTS (SELECT FROM metering_eventeffect x"
                "            WHERE x.xid >= f.below_xid::text::xid8)"
            )
            if cursor.fetchone() is None:
                return
        time.sleep(0.05)
    raise AssertionError("the reader does not come through")


def broken_rules() -> list[str]:
    """Return what is wrong with wallets and the books: nothing, if all is well."""
    return [sentence for rule in (*RULES, *LEDGER_RULES) for sentence in rule(None)]
