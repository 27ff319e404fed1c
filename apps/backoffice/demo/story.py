"""Telling the half year: month by month usage, invoices, payments, and what goes wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from apps.backoffice.demo.catalog import DOCUMENT, growth
from apps.backoffice.demo.people import BUYERS, CITIES, NEVER, OPERATORS, TRANSFER, Buyer
from apps.backoffice.operations.books import store_books_check
from apps.backoffice.operations.clocks import advance_clock
from apps.catalog.models import PlanVersion
from apps.catalog.operations.plans import add_version
from apps.catalog.operations.upload_catalog import upload_catalog
from apps.core.audit import seal_events
from apps.core.ids import new_id
from apps.core.tenancy import enter_tenant, tenant_scope
from apps.customers.models import Customer
from apps.customers.operations import create_customer
from apps.invoicing.domain import COLLECTABLE, InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import write_off_invoice
from apps.metering.operations import ingest_batch
from apps.metering.queries import sender_of
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.methods import add_payment_method
from apps.payments.operations.receiving import record_external_payment
from apps.rating.periods import Alignment
from apps.subscriptions.domain import CancelMode
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription, start_subscription
from apps.tenants.domain import Role
from apps.tenants.models import Operator, Tenant, TestClock
from apps.tenants.operations import (
    add_member,
    attach_clock,
    change_tenant,
    create_api_key,
    create_clock,
    create_tenant,
    detach_clock,
)

ACTOR: Final = "demo"
MONTHS: Final = 6
_ZONE: Final = "America/New_York"
_WEEK: Final = timedelta(days=7)
_BATCH: Final = 1000
_PATIENCE: Final = timedelta(days=9)  # of those who pay by transfer, after an invoice
_HOPELESS: Final = timedelta(days=75)
_NEW_PRICE_IN: Final = 4  # the month of the story in which the plan Growth costs more

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Told:
    """What the reader of the story needs to look at it: how to log in, and a key."""

    tenant: Tenant
    logins: tuple[tuple[str, str], ...]  # role and e-mail address
    api_key: str
    documents: int
    events: int


@dataclass(slots=True)
class _Story:
    tenant: Tenant
    clock: TestClock
    today: datetime  # in real time
    say: Say
    events: int = 0
    luck: Random = field(default_factory=lambda: Random(20))  # noqa: S311 -- a story, no secret
    late: list[dict[str, Any]] = field(default_factory=list)  # usage that is reported a week late
    customers: dict[str, Customer] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)

    def act(self) -> dict[str, Any]:
        """Return on whose behalf and when everything is done."""
        return {"actor": ACTOR, "at": self.clock.now}


def tell(*, password: str, until: datetime, say: Say) -> Told:
    """Load the demo company into an empty installation: half a year that ends at ``until``.

    All of it is done by operations on a test clock, which is then taken away: the company goes on
    in real time. ``until`` is real time. Its data lies in the test mode.
    """
    with tenant_scope(None):
        return _tell(password, until, say)


def _tell(password: str, until: datetime, say: Say) -> Told:
    starts = _months(until)
    story, logins = _set_up(starts[0], password, until)
    secret = _key(story.tenant, until)
    for month, (start, end) in enumerate(zip(starts, [*starts[1:], until], strict=True)):
        _live_through(story, month, start, end)
        count = Invoice.objects.filter(tenant=story.tenant).count()
        say(f"{start:%Y-%m}: {len(story.customers)} customers, {count} invoices so far")
    _leave_orphans(story)
    _settle_down(story, until)
    return Told(
        tenant=story.tenant,
        logins=logins,
        api_key=secret,
        documents=Invoice.objects.filter(tenant=story.tenant).count(),
        events=story.events,
    )


def _months(until: datetime) -> list[datetime]:
    """Return the starts of the months of the story, in the company's zone."""
    here = until.astimezone(ZoneInfo(_ZONE))
    numbers = [here.year * 12 + here.month - 1 - back for back in range(MONTHS, -1, -1)]
    return [datetime(n // 12, n % 12 + 1, 1, tzinfo=ZoneInfo(_ZONE)) for n in numbers]


def _set_up(
    start: datetime, password: str, until: datetime
) -> tuple[_Story, tuple[tuple[str, str], ...]]:
    live = create_tenant(
        id=new_id(),
        slug="demo",
        name="Northwind Cloud",
        legal_name="Northwind Cloud, Inc.",
        email="billing@northwind.example",
        currency="USD",
        zone=_ZONE,
        actor=ACTOR,
        at=until,
    )
    enter_tenant(live.twin_id)
    for role, email, name in OPERATORS:
        # the owner also runs the installation
        Operator.objects.create_user(email, password, name=name, is_superuser=role == Role.OWNER)
        add_member(live.id, id=new_id(), email=email, role=Role(role), actor=ACTOR, at=until)
    test = Tenant.objects.get(twin=live)
    change_tenant(
        test.id,
        address="200 Harbor Street\nNew York, NY 10004\nUnited States",
        payment_term=timedelta(days=14),
        retry_days=[3, 5, 7],
        event_max_ahead=timedelta(days=8),  # the usage of a week is reported ahead of it
        actor=ACTOR,
        at=until,
    )
    clock = create_clock(
        test.id, id=new_id(), name="The demo's past", now=start, actor=ACTOR, at=until
    )
    attach_clock(test.id, clock.id, actor=ACTOR, at=until)
    test.refresh_from_db()
    upload_catalog(test.id, document=DOCUMENT, actor=ACTOR, at=start)
    return _Story(test, clock, until, print), tuple((role, email) for role, email, _ in OPERATORS)


def _key(tenant: Tenant, at: datetime) -> str:
    _, secret = create_api_key(
        tenant.id, id=new_id(), name="Demo", scopes=["*:read", "*:write"], actor=ACTOR, at=at
    )
    return secret


# --- a month -------------------------------------------------------------------------------------


def _live_through(story: _Story, month: int, start: datetime, end: datetime) -> None:
    if month == _NEW_PRICE_IN:
        document = growth("179.00")
        for name in ("key", "name", "product"):
            document.pop(name)
        plan = PlanVersion.objects.filter(tenant=story.tenant, plan__key="growth").get().plan_id
        add_version(plan, id=new_id(), document=document, **story.act())
    for buyer in BUYERS:
        if buyer.month == month:
            _welcome(story, buyer, start)
        if buyer.leaves == month:
            cancel_subscription(
                story.subscriptions[buyer.name].id,
                mode=CancelMode.NOW if buyer.plan == "media" else CancelMode.PERIOD_END,
                **story.act(),
            )
        if buyer.new_card == month:
            _renew_card(story, story.customers[buyer.name])
    while story.clock.now < end:
        until = min(story.clock.now + _WEEK, end)
        _use(story, story.clock.now, until)
        story.clock = advance_clock(story.clock.id, to=until, actor=ACTOR, wall=lambda: story.today)
        _receive_transfers(story)


def _welcome(story: _Story, buyer: Buyer, month: datetime) -> None:
    zone, country = CITIES[buyer.city]
    slug = buyer.name.lower().replace("&", "and").replace(" ", "-")
    customer = create_customer(
        story.tenant.id,
        id=new_id(),
        name=buyer.name,
        email=f"accounts@{slug}.example",
        currency=buyer.currency,
        zone=zone,
        external_id=slug,
        address={"line1": f"{len(slug) * 7} Main Street", "city": buyer.city, "country": country},
        **story.act(),
    )
    if buyer.pays not in (TRANSFER, NEVER):
        add_payment_method(
            customer.id,
            id=new_id(),
            provider="sandbox",
            provider_ref=buyer.pays,
            label="Card ending in 4242",
            make_default=True,
            tenant_id=story.tenant.id,
            **story.act(),
        )
    first = month.astimezone(ZoneInfo(zone)).replace(
        month=month.month, year=month.year, day=buyer.day, hour=0, minute=0
    )
    version = (
        PlanVersion.objects.filter(tenant=story.tenant, plan__key=buyer.plan)
        .order_by("number")
        .last()
    )
    assert version is not None  # noqa: S101 -- the catalog was uploaded before
    story.customers[buyer.name] = customer
    story.subscriptions[buyer.name] = start_subscription(
        customer.id,
        id=new_id(),
        plan_version_id=version.id,
        started_at=first,
        alignment=Alignment.CALENDAR if buyer.calendar else Alignment.ANNIVERSARY,
        quantity=Decimal(buyer.quantity),
        external_id=f"{slug}-{buyer.plan}",
        **story.act(),
    )


# --- usage ---------------------------------------------------------------------------------------


def _use(story: _Story, start: datetime, end: datetime) -> None:
    """Report the usage of a stretch; a little of it late, a little of it twice."""
    sender = sender_of(story.tenant)
    items = [
        item
        for buyer in BUYERS
        if buyer.name in story.customers
        for item in _usage_of(story, buyer, start, end)
    ]
    items, story.late = [one for n, one in enumerate(items) if n % 71] + story.late, items[::71]
    items += items[::97]
    for first in range(0, len(items), _BATCH):
        ingest_batch(sender, items[first : first + _BATCH], at=story.clock.now)
    story.events += len(items)


def _usage_of(
    story: _Story, buyer: Buyer, start: datetime, end: datetime
) -> Iterator[dict[str, Any]]:
    subscription = story.subscriptions[buyer.name]
    if buyer.leaves is not None and subscription.ends_at and subscription.ends_at <= start:
        return
    begins = max(start, subscription.started_at)
    days = int((end - begins) / timedelta(days=1))
    growth_so_far = Decimal(100 + 3 * ((start - subscription.started_at).days // 7)) / 100
    for day in range(days):
        at = begins + timedelta(days=day, hours=story.luck.randrange(24))
        if at >= end:
            continue
        busy = Decimal(story.luck.randrange(60, 140)) / 100
        if at.weekday() >= 5:  # noqa: PLR2004 -- Saturday and Sunday
            busy /= 3
        yield from _events(buyer, at, buyer.size * growth_so_far * busy, story.luck)


def _events(buyer: Buyer, at: datetime, scale: Decimal, luck: Random) -> Iterator[dict[str, Any]]:
    def event(name: str, amount: Decimal | None, **properties: str) -> dict[str, Any]:
        slug = buyer.name.lower().replace("&", "and").replace(" ", "-")
        item: dict[str, Any] = {
            "idempotency_key": f"{slug}-{name}-{at:%Y%m%d}-{luck.randrange(10**9)}",
            "event_name": name,
            "customer": slug,
            "timestamp": at.isoformat(),
        }
        if amount is not None:
            item["value"] = str(amount.to_integral_value())
        if properties:
            item["properties"] = properties
        return item

    match buyer.plan:
        case "starter":
            yield event("api_calls", scale * 3500)
        case "growth" | "enterprise":
            yield event("api_calls", scale * 9000)
            yield event("storage", 60 + scale * 40)
        case "ai":
            for size, direction, share in (
                ("small", "input", 900_000),
                ("small", "output", 200_000),
                ("large", "input", 150_000),
                ("large", "output", 40_000),
            ):
                yield event("tokens", scale * share, model=size, direction=direction)
        case "media":
            yield event("renders", scale * 260)
            yield event("storage", 300 + scale * 120)
        case _:
            for _ in range(3):
                yield event("active_users", None, user=f"guest-{luck.randrange(45)}")


def _leave_orphans(story: _Story) -> None:
    """Report usage that matches nothing: a stranger, a meter nobody made, a time before."""
    at = story.clock.now - timedelta(days=2)
    before = story.subscriptions["Jasper & Quill"].started_at - timedelta(days=3)
    strays = [
        ("api_calls", "customer", "acct-4711", at),
        ("api_calls", "customer", "acct-4711", at + timedelta(hours=5)),
        ("legacy_pings", "customer", "cobalt-harbor", at),
        ("tokens", "subscription", "jasper-and-quill-ai", before),
    ]
    items = [
        {
            "idempotency_key": f"stray-{number}",
            "event_name": name,
            kind: subject,
            "timestamp": when.isoformat(),
            "value": "120",
        }
        for number, (name, kind, subject, when) in enumerate(strays)
    ]
    ingest_batch(sender_of(story.tenant), items, at=story.clock.now)
    story.events += len(items)


# --- money ---------------------------------------------------------------------------------------


def _receive_transfers(story: _Story) -> None:
    """Let those who pay by transfer pay what is old enough; give up what is far too old."""
    now = story.clock.now
    open_ = Invoice.objects.filter(tenant=story.tenant, status__in=COLLECTABLE, issued_at__lte=now)
    by_name = {buyer.name: buyer for buyer in BUYERS}
    for invoice in open_.select_related("customer").order_by("number"):
        buyer = by_name[invoice.customer.name]
        assert invoice.issued_at is not None  # noqa: S101 -- open invoices have been issued
        if buyer.pays == TRANSFER and invoice.issued_at <= now - _PATIENCE:
            _transfer(story, invoice.id, f"WIRE-{invoice.number:05d}")
        elif (
            buyer.pays == "sandbox_declined"
            and invoice.status == InvoiceStatus.OVERDUE
            and invoice.issued_at <= now - _HOPELESS
        ):
            write_off_invoice(invoice.id, tenant_id=story.tenant.id, **story.act())


def _renew_card(story: _Story, customer: Customer) -> None:
    """Give the customer a card that works, and collect what is open."""
    add_payment_method(
        customer.id,
        id=new_id(),
        provider="sandbox",
        provider_ref="sandbox_ok",
        label="Card ending in 1881",
        make_default=True,
        tenant_id=story.tenant.id,
        **story.act(),
    )
    for invoice in Invoice.objects.filter(customer=customer, status__in=COLLECTABLE):
        charge_invoice(invoice.id, id=new_id(), tenant_id=story.tenant.id, **story.act())


def _transfer(story: _Story, invoice_id: UUID, reference: str) -> None:
    record_external_payment(
        invoice_id,
        id=new_id(),
        reference=reference,
        tenant_id=story.tenant.id,
        **story.act(),
    )


def _settle_down(story: _Story, until: datetime) -> None:
    """Leave the past: the company goes on in real time, with its books checked."""
    change_tenant(
        story.tenant.id, event_max_ahead=timedelta(hours=1), actor=ACTOR, at=story.clock.now
    )
    detach_clock(story.tenant.id, actor=ACTOR, at=until)
    seal_events()
    store_books_check(story.tenant.id, at=until)
