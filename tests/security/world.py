"""A tenant with something of everything, and the names under which callers know it."""

import json
import re
import secrets
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.apps import apps
from django.db import connection
from django.http import Http404
from django.urls import resolve

from apps.backoffice.models import ClockAdvance
from apps.catalog.domain import CouponTarget, ProductKind
from apps.catalog.models import (
    AddOnOffer,
    Coupon,
    Feature,
    Plan,
    PlanTransition,
    PlanVersion,
    Product,
)
from apps.catalog.operations.lists import create_product
from apps.catalog.operations.plans import create_plan
from apps.core.ids import encode, new_id
from apps.core.models import AuditEvent, Identified, Job
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.models import Backtest, Invoice, InvoiceLine
from apps.invoicing.operations.billing import bill_customer
from apps.ledger.models import JournalEntry, LedgerAccount
from apps.metering.models import EventAmendment, EventStream, Meter, OrphanEvent
from apps.payments.models import Dispute, Payment, PaymentMethod, Refund
from apps.subscriptions.domain import CancelMode, Settlement
from apps.subscriptions.models import (
    Contract,
    CouponRedemption,
    PlanMigration,
    ScheduledChange,
    Subscription,
)
from apps.subscriptions.operations import cancel_subscription
from apps.taxes.models import TaxRate
from apps.tenants.domain import Mode, Role
from apps.tenants.models import ApiKey, Membership, Tenant
from apps.wallets.models import (
    CreditGrant,
    CreditHold,
    CreditPrice,
    CreditTransaction,
    CreditUnit,
    Wallet,
)
from tests.make.backoffice import make_world
from tests.make.books import unguarded
from tests.make.catalog import make_feature, make_offer, make_plan, make_price_list, plan_document
from tests.make.contracts import make_contract
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.metering import make_amendment, make_meter
from tests.make.payments import make_method
from tests.make.subscriptions import make_subscription
from tests.make.taxes import make_tax_rate
from tests.make.tenants import ACTOR, AT, make_clock, make_key, make_tenant
from tests.make.wallets import hold, make_grant, make_price, make_unit, make_wallet
from tests.security.calls import Call
from tests.security.routes import API, plain
from tests.servers import as_superuser

_LONG: Final = timedelta(days=36_500)
_PLACE: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Names:
    """What callers may call a thing: its id, and its owner's own name for it."""

    id: str
    name: str | None = None

    def all(self) -> list[str]:
        """Return every name."""
        return [self.id] if self.name is None else [self.id, self.name]


@dataclass(frozen=True, slots=True)
class World:
    """A tenant, what there is of it, and the keys to it."""

    tenant: Tenant
    things: Mapping[str, Names]
    keys: Mapping[Mode, str]
    member: Membership  # an owner
    ids: tuple[str, ...]  # of every row that it has, in both modes
    words: tuple[str, ...]  # that occur in its rows and nowhere else

    def names(self, place: str) -> list[str]:
        """Return what can stand for ``{place}``: ``customer``, ``customer_id``, ``customer_name``."""
        if place in self.things:
            return self.things[place].all()
        kind, _, which = place.rpartition("_")
        names = self.things[kind]
        if which == "id":
            return [names.id]
        assert names.name is not None
        return [names.name]


def make_full(letter: str) -> World:
    """Return a new tenant with a row of every kind; ``letter`` begins all of its own names."""
    mark = letter + secrets.token_hex(6)
    tenant = make_tenant(slug=mark, name=f"Company {mark}")
    tenant.invoice_prefix = mark.upper()
    tenant.credit_memo_prefix = f"C{mark.upper()}"
    tenant.save()
    twin = Tenant.objects.get(pk=tenant.twin_id)
    clock = make_clock(twin)
    with tenant_scope(twin.id):
        way = {"begins_at": AT, "to": AT, "reached": AT, "created_at": AT, "ended_at": AT}
        ClockAdvance.objects.create(tenant=twin, clock=clock, **way)
    with tenant_scope(tenant.id):
        make_world(tenant)
        _more(tenant, mark)
        things = {**dict(_things(tenant, mark)), "test_clock": Names(clock.public_id)}
        owner = Membership.objects.get(tenant=tenant, role=Role.OWNER)
    with as_superuser():
        ids = tuple(_ids(tenant))
    return World(
        tenant=tenant,
        things=things,
        keys={Mode.LIVE: make_key(tenant), Mode.TEST: make_key(twin)},
        member=owner,
        ids=ids,
        words=(mark, mark.upper()),
    )


def _more(tenant: Tenant, mark: str) -> None:
    """Add what the desk's world lacks: own names, drafts, a customer who may do anything."""
    customer = make_customer(
        tenant, external_id=f"{mark}-customer", name=f"{mark} Ltd", email=f"{mark}@example.com"
    )
    create_product(tenant.id, id=new_id(), key=f"{mark}-product", name=mark, actor=ACTOR, at=AT)
    _offer(tenant, mark)
    make_price_list(tenant, f"{mark}-list")
    make_feature(tenant.id, f"{mark}-feature")
    make_tax_rate(tenant, key=f"{mark}-rate", country="ZW")
    make_coupon(tenant, key=f"{mark}-coupon")
    make_coupon(tenant, key=f"{mark}-spare")
    make_coupon(tenant, key=f"{mark}-all", target=CouponTarget.CUSTOMER)
    make_amendment(make_meter(tenant, key=f"{mark}_meter"), customer)
    subscription = make_subscription(
        customer,
        make_plan(tenant, key=f"{mark}-plan", product=f"{mark}-product"),
        external_id=f"{mark}-subscription",
    )
    redeem(subscription, make_coupon(tenant, key=f"{mark}-redeemed"))
    make_contract(subscription, external_id=f"{mark}-contract")
    cancel_subscription(
        subscription.id,
        mode=CancelMode.PERIOD_END,
        settlement=Settlement.NONE,
        change_id=new_id(),
        actor=ACTOR,
        at=AT,
    )
    bill_customer(
        customer.id,
        tenant_id=tenant.id,
        request_id=new_id(),
        cutoff=AT,
        issue=True,
        actor=ACTOR,
        at=AT,
    )
    make_method(customer, f"{mark}-method", provider="external")
    _credit(tenant, customer, mark)
    OrphanEvent.objects.filter(tenant=tenant).update(subject=f"{mark}-orphan")
    with unguarded("payments_payment"):  # no provider is asked for this
        Payment.objects.filter(tenant=tenant).update(provider_ref=f"{mark}-charge")
    create_plan(
        tenant.id,
        id=new_id(),
        document=plan_document(key=f"{mark}-draft", publish=False),
        actor=ACTOR,
        at=AT,
    )


def _offer(tenant: Tenant, mark: str) -> None:
    create_product(
        tenant.id,
        id=new_id(),
        key=f"{mark}-extra",
        name=mark,
        kind=ProductKind.ADD_ON,
        actor=ACTOR,
        at=AT,
    )
    make_plan(tenant, key=f"{mark}-extra-plan", product=f"{mark}-extra")
    make_offer(tenant, {"product": f"{mark}-product"}, f"{mark}-extra")


def _credit(tenant: Tenant, customer: Customer, mark: str) -> None:
    unit = make_unit(tenant, f"{mark}-unit")
    make_price(make_meter(tenant, key=f"{mark}_priced"), "1", unit)
    make_meter(tenant, key=f"{mark}_spare")
    wallet = make_wallet(customer, unit=unit, external_id=f"{mark}-wallet")
    make_grant(wallet, "100")
    hold(wallet, "2", external_id=f"{mark}-hold", lasts=_LONG)
    hold(wallet, "3", lasts=_LONG)


def _things(tenant: Tenant, mark: str) -> Iterator[tuple[str, Names]]:
    def one(model: Any, **values: Any) -> Any:
        return model.objects.filter(tenant_id=tenant.id, **values).order_by("pk").first()

    customer = one(Customer, external_id=f"{mark}-customer")
    billed = one(Invoice, customer=customer)
    payment, orphan = one(Payment), one(OrphanEvent)
    stream = one(EventStream)
    yield "tenant", Names(tenant.public_id, tenant.slug)
    yield "api_key", Names(one(ApiKey).public_id)
    yield "member", Names(one(Membership, role=Role.OWNER).public_id)
    yield "audit_event", Names(one(AuditEvent).public_id)
    yield "job", Names(one(Job, state="dead").public_id)
    yield "customer", Names(customer.public_id, customer.external_id)
    meter = one(Meter, key=f"{mark}_meter")
    yield "meter", Names(meter.public_id, meter.key)
    yield "stream", Names(stream.public_id, stream.handle)
    yield from (
        ("amendment", Names(one(EventAmendment).public_id)),
        ("orphan", Names(orphan.public_id, orphan.subject)),
    )
    yield "feature", _keyed(one(Feature, key=f"{mark}-feature"))
    yield "tax_rate", _keyed(one(TaxRate))
    yield from _agreed(one, mark)
    yield "product", _keyed(one(Product))
    yield "price_list", Names(*_price_list(tenant, mark))
    yield "plan", _keyed(one(Plan, key=f"{mark}-plan"))
    yield "draft_plan", _keyed(one(Plan, key=f"{mark}-draft"))
    yield "transition", Names(one(PlanTransition).public_id)
    yield "offer", Names(one(AddOnOffer, product__key=f"{mark}-extra").public_id)
    yield "extra_product", _keyed(one(Product, key=f"{mark}-extra"))
    yield "extra_plan", _keyed(one(Plan, key=f"{mark}-extra-plan"))
    yield "plan_version", Names(one(PlanVersion, plan__key=f"{mark}-plan").public_id)
    yield "draft_version", Names(one(PlanVersion, plan__key=f"{mark}-draft").public_id)
    own = one(Subscription, external_id=f"{mark}-subscription")
    change = one(ScheduledChange, subscription=own)
    yield "subscription", Names(own.public_id, own.external_id)
    yield "change", Names(change.public_id)
    yield "invoice", Names(billed.public_id, billed.display_number)
    yield "line", Names(InvoiceLine.objects.filter(invoice=billed)[0].public_id)
    yield "draft", Names(one(Invoice, status=InvoiceStatus.DRAFT).public_id)
    yield from _of_wallets(one, mark)
    yield "payment", Names(payment.public_id, payment.provider_ref)
    yield from _paid_back(one)
    yield "method", Names(one(PaymentMethod, customer=customer).public_id)
    yield from _booked(one)


def _of_wallets(one: Any, mark: str) -> Iterator[tuple[str, Names]]:
    wallet = one(Wallet, external_id=f"{mark}-wallet")
    unit = one(CreditUnit, key=f"{mark}-unit")
    held = list(CreditHold.objects.filter(wallet=wallet).order_by("pk"))
    yield "unit", _keyed(unit)
    yield "credit_price", Names(one(CreditPrice, unit=unit).public_id)
    yield "spare_meter", _keyed(one(Meter, key=f"{mark}_spare"))
    yield "wallet", Names(wallet.public_id, wallet.external_id)
    yield "grant", Names(one(CreditGrant, wallet=wallet).public_id)
    yield "hold", Names(held[0].public_id, held[0].external_id)
    yield "spare_hold", Names(held[1].public_id)
    yield "transaction", Names(one(CreditTransaction, wallet=wallet).public_id)


def _paid_back(one: Callable[..., Any]) -> Iterator[tuple[str, Names]]:
    memo = one(Invoice, kind=DocumentKind.CREDIT_MEMO, paid_out=None, applied_to=None)
    yield "memo", Names(memo.public_id, memo.display_number)
    yield "refund", Names(one(Refund).public_id)
    yield "dispute", Names(one(Dispute).public_id)


def _booked(one: Callable[..., Any]) -> Iterator[tuple[str, Names]]:
    entry = one(JournalEntry)
    yield "account", Names(one(LedgerAccount).public_id)
    yield "entry", Names(entry.public_id, entry.source_key)


def _agreed(one: Any, mark: str) -> Iterator[tuple[str, Names]]:
    yield "coupon", _keyed(one(Coupon, key=f"{mark}-coupon"))
    yield "spare_coupon", _keyed(one(Coupon, key=f"{mark}-spare"))
    yield "customers_coupon", _keyed(one(Coupon, key=f"{mark}-all"))
    redemption = one(CouponRedemption, coupon__key=f"{mark}-redeemed")
    contract = one(Contract, external_id=f"{mark}-contract")
    yield "contract", Names(contract.public_id, contract.external_id)
    yield "redemption", Names(redemption.public_id)
    yield "migration", Names(one(PlanMigration).public_id)
    yield "backtest", Names(one(Backtest).public_id)


def _keyed(row: Any) -> Names:
    return Names(row.public_id, row.key)


def _price_list(tenant: Tenant, mark: str) -> tuple[str, str]:
    model: Any = apps.get_model("catalog", "PriceList")
    found = model.objects.get(tenant_id=tenant.id, key=f"{mark}-list")
    return found.public_id, found.key


def _ids(tenant: Tenant) -> Iterator[str]:
    both = (tenant.id, tenant.twin_id)
    owned: dict[str, Any] = {"tenant_id__in": both}
    yield from (encode("ten", one) for one in both)
    for model in apps.get_models():
        columns = {field.attname for field in model._meta.concrete_fields}
        if issubclass(model, Identified) and "tenant_id" in columns:
            rows = model._default_manager.filter(**owned)
            yield from (encode(model.ID_PREFIX, pk) for pk in rows.values_list("pk", flat=True))


def filled(template: Any, names: Mapping[str, str]) -> Any:
    """Return a path or a body with its places filled."""
    if isinstance(template, str):
        return _PLACE.sub(lambda found: names[found[1]], template)
    text = json.dumps(template)
    return json.loads(_PLACE.sub(lambda found: names[found[1]], text))


def places(template: Any) -> list[str]:
    """Return the places of a path or a body, each once."""
    text = template if isinstance(template, str) else json.dumps(template)
    return [place for place in dict.fromkeys(_PLACE.findall(text)) if place != "new"]


def never(name: str) -> str:
    """Return a name of the same form that nothing ever had."""
    prefix, _, rest = name.partition("_")
    if prefix.isalpha() and len(rest) == 26:
        return encode(prefix, new_id())
    return "".join(
        secrets.choice(string.digits if one.isdigit() else _alphabet(one)) if one.isalnum() else one
        for one in name
    )


def _alphabet(letter: str) -> str:
    return string.ascii_uppercase if letter.isupper() else string.ascii_lowercase


def dump(tenant: Tenant) -> dict[str, str]:
    """Return, table by table, a digest of the rows of the company, in both of its modes."""
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND column_name = 'tenant_id'"
        )
        tables = [(table, "tenant_id") for (table,) in cursor.fetchall()]
        tables.append(("tenants_tenant", "id"))
        found = {}
        for table, column in tables:
            cursor.execute(
                f"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ';'"  # noqa: S608 -- names of tables
                f" ORDER BY t::text)), '') FROM {table} t WHERE {column} IN (%s, %s)",
                [tenant.id, tenant.twin_id],
            )
            (found[table],) = cursor.fetchone()
    return found


def called(calls: Iterable[Call]) -> set[tuple[str, str]]:
    """Return method and route of every call that leads somewhere."""
    found = set()
    for call in calls:
        path = call.path.partition("?")[0]
        with suppress(Http404):
            match = resolve(f"/{API}{filled(path, dict.fromkeys(places(path), 'x'))}")
            found.add((call.method, plain(match.route.removeprefix(API))))
    return found
