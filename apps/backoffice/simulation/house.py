"""One tenant's months: who comes, what is used, what is asked for, what is paid."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from apps.backoffice.simulation.adding import Adding
from apps.backoffice.simulation.adjusting import Adjusting
from apps.backoffice.simulation.amending import Amending
from apps.backoffice.simulation.asking import Asking
from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.contesting import Contesting
from apps.backoffice.simulation.contracting import Contracting
from apps.backoffice.simulation.deeds import Deeds
from apps.backoffice.simulation.facts import Facts, MeterFact, SubscriptionFact
from apps.backoffice.simulation.faults import Interruption, Trouble
from apps.backoffice.simulation.haggling import Haggling
from apps.backoffice.simulation.levying import PLACES, levy
from apps.backoffice.simulation.offers import METERS, PRICE_LIST, Seller, units
from apps.backoffice.simulation.readers import see_all_usage
from apps.backoffice.simulation.repaying import Repaying
from apps.backoffice.simulation.saving import Saving
from apps.backoffice.simulation.traffic import Buyer, Traffic, external_id
from apps.backoffice.simulation.vouching import Vouching
from apps.catalog.operations.lists import create_price_list
from apps.catalog.operations.plans import create_plan
from apps.core.jobs import run_due
from apps.core.models import Job
from apps.core.tenancy import enter_tenant
from apps.customers.operations import create_customer
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import bill_customer, close_due
from apps.invoicing.operations.closing import mark_overdue
from apps.invoicing.operations.drafts import issue_due
from apps.invoicing.operations.issuing import issue_invoice
from apps.metering.operations import create_meter
from apps.metering.queries import sender_of
from apps.payments.operations.collecting import retry_collections
from apps.payments.operations.methods import add_payment_method
from apps.payments.operations.refund_resolving import resolve_refunds
from apps.payments.operations.resolving import resolve_unknown
from apps.rating.aggregation import Aggregation, RoundingMode
from apps.rating.periods import Alignment, Cadence, Unit
from apps.subscriptions.operations import apply_due_changes, start_subscription
from apps.tenants.models import Tenant, TestClock
from apps.tenants.operations import (
    attach_clock,
    change_tenant,
    create_clock,
    create_tenant,
    move_clock,
)
from apps.wallets.operations.due import apply_due

ACTOR: Final = "system:simulation"
ZONES: Final = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",  # puts its clocks forward at midnight
    "Africa/Cairo",
    "Asia/Tokyo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Auckland",
)
_CARDS: Final = (
    *["sandbox_ok"] * 5,
    "sandbox_declined_once",
    "sandbox_declined",
    "sandbox_timeout",
    "sandbox_timeout_lost",
    "sandbox_duplicate",
    "sandbox_delayed",
    "sandbox_delayed_failure",
    "sandbox_unreachable",
    "sandbox_refund_declined",
    "sandbox_refund_declined_once",
    "sandbox_refund_timeout",
    "sandbox_refund_timeout_lost",
    "sandbox_refund_delayed",
    "sandbox_refund_delayed_failure",
)
_DAY: Final = timedelta(days=1)
_MONTH: Final = timedelta(days=30, hours=10)
_NOT_DONE: Final = (Job.State.PENDING, Job.State.RUNNING, Job.State.DEAD)
_QUESTIONS: Final = (timedelta(minutes=6), timedelta(hours=2), 2 * _DAY, 4 * _DAY)


@dataclass(frozen=True, slots=True)
class Ways:
    """How a tenant does business."""

    slug: str
    basis: str
    grace: timedelta
    late_usage: str
    tax_rounding: str
    customers: int


class House:
    """A tenant in test mode on a clock of its own, and the facts of it.

    Making it enters the scope of the tenant.
    """

    def __init__(self, dice: Dice, ways: Ways, *, starts_at: datetime, wall: datetime) -> None:
        self.dice, self.ways = dice, ways
        self.now = starts_at
        self.facts = Facts(starts_at)
        self.left: list[str] = []  # that was to be done
        # what goes wrong, and who pays when, may depend on the machine; what happens must not
        self.trouble = Trouble(Dice(dice.getrandbits(64)), percent=12)
        self.buyers: list[Buyer] = []
        self.tenant, self.clock = self._found(wall)
        self.traffic = Traffic(dice, sender_of(self.tenant), self.facts)
        self.amending = Amending(
            Dice(dice.getrandbits(64)), self.trouble, self.tenant.id, self.facts, self.traffic
        )
        self.deeds = Deeds(Dice(dice.getrandbits(64)), self.tenant.id, self.trouble)
        self.repaying = Repaying(Dice(dice.getrandbits(64)), self.tenant.id, self.trouble)
        self._plans: list[tuple[dict[str, Any], UUID]] = []
        self.asking = Asking(dice, self.trouble, self._plans, self.price_list.id)
        self._offers = Seller(dice).plans(min(4 + ways.customers // 4, 16))
        self._offer([meter for meter in METERS if not meter.late])
        self.wall = wall
        self.haggling = Haggling(
            Dice(dice.getrandbits(64)), self.trouble, self.tenant.id, self.facts
        )
        self.haggling.found(self.now)
        levy(self.tenant.id, dice, self.facts, at=self.now)
        self.saving = Saving(
            Dice(dice.getrandbits(64)), self.trouble, self.tenant.id, self.facts.credit
        )
        self.saving.found(self.now)
        self.contesting = Contesting(
            Dice(dice.getrandbits(64)), self.trouble, self.tenant.id, self.facts
        )
        self.adjusting = Adjusting(
            Dice(dice.getrandbits(64)), self.trouble, self.tenant.id, self.facts.credit
        )
        self.vouching = Vouching(
            Dice(dice.getrandbits(64)),
            self.trouble,
            self.tenant.id,
            self.facts,
            self.saving.unit,
        )
        self.vouching.found(self.now)
        self.adding = Adding(
            Dice(dice.getrandbits(64)), self.trouble, self.tenant.id, self.facts, self._plans
        )
        self.adding.found(self.now)
        self.contracting = Contracting(
            Dice(dice.getrandbits(64)), self.trouble, self.tenant.id, self.facts
        )

    def live(self, until: datetime, *, say: Callable[[str], None]) -> None:
        """Live to an instant; then have everything billed that is due by it."""
        began = self.now
        told = began
        while self.now < until:
            then = min(self.now + self._stride(), until)
            passed = (then - began) / (until - began)
            if passed > 0.25 and "renders" not in self.facts.meters:  # noqa: PLR2004
                self._offer([meter for meter in METERS if meter.late])
            self.adding.offer(self.now)
            self._welcome(int(self.ways.customers * min(passed * 1.6 + 0.1, 1)))
            self.asking.for_all(self.buyers, self.now)
            self.deeds.with_money(self.buyers, self.facts, self.now)
            self.repaying.act(self.buyers, self.facts, self.now)
            self.saving.act(self.buyers, self.now)
            self.haggling.act(self.buyers, self.now)
            self.amending.act(self.buyers, self.now)
            self.contesting.act(self.buyers, self.now)
            self.adjusting.act(self.now)
            self.vouching.act(self.buyers, self.now)
            self.adding.act(self.buyers, self.now)
            self.contracting.act(self.buyers, self.now)
            since, self.now = self.now, then
            move_clock(self.clock.id, to=then, actor=ACTOR, at=then)
            self.traffic.pass_time(self.buyers, since, then)
            if then == until:
                self._settle()
                break
            self._sweep()
            self._do_jobs()
            if self.now - told >= 3 * _MONTH:
                told = self.now
                say(f"{self.ways.slug} {told:%Y-%m}: {self._figures()}")
        say(f"{self.ways.slug} {self.now:%Y-%m}: {self._figures()}")

    # --- beginnings -----------------------------------------------------------------------------

    def _found(self, wall: datetime) -> tuple[Tenant, TestClock]:
        live = create_tenant(
            id=self.dice.id(),
            slug=self.ways.slug,
            name=self.ways.slug,
            currency="USD",
            zone="UTC",
            actor=ACTOR,
            at=wall,
        )
        enter_tenant(live.twin_id)
        tenant = change_tenant(
            live.twin_id,
            proration_basis=self.ways.basis,
            grace_period=self.ways.grace,
            late_usage=self.ways.late_usage,
            tax_rounding=self.ways.tax_rounding,
            payment_term=14 * _DAY,
            retry_days=[2, 5],
            actor=ACTOR,
            at=wall,
        )
        clock = create_clock(
            tenant.id, id=self.dice.id(), name="simulated", now=self.now, actor=ACTOR, at=wall
        )
        attach_clock(tenant.id, clock.id, actor=ACTOR, at=wall)
        self.price_list = create_price_list(
            tenant.id, id=self.dice.id(), key=PRICE_LIST, name=PRICE_LIST, actor=ACTOR, at=self.now
        )
        return Tenant.objects.get(pk=tenant.id), clock

    def _offer(self, meters: list[MeterFact]) -> None:
        """Make meters, and the plans that need no others."""
        for meter in meters:
            self._make_meter(meter)
            self.facts.meters[meter.key] = meter
        for document in list(self._offers):
            needed = {
                charge["meter"]
                for phase in document["phases"]
                for charge in phase["charges"]
                if "meter" in charge
            }
            if needed <= set(self.facts.meters):
                self._offers.remove(document)
                plan = create_plan(
                    self.tenant.id, id=self.dice.id(), document=document, actor=ACTOR, at=self.now
                )
                self._plans.append((document, plan.versions.get().id))

    def _make_meter(self, meter: MeterFact) -> None:
        chosen = self.facts.meter_ids[meter.key] = self.dice.id()
        self.trouble.survive(
            lambda: create_meter(
                self.tenant.id,
                id=chosen,
                key=meter.key,
                name=meter.key,
                event_name=meter.event_name,
                aggregation=Aggregation(meter.aggregation),
                value_property=meter.value_property,
                percentile=meter.percentile,
                recurring=meter.recurring,
                filters=meter.filters,
                group_by=meter.group_by,
                rounding=RoundingMode(meter.rounding) if meter.rounding else None,
                rounding_places=meter.rounding_places,
                actor=ACTOR,
                at=self.now,
            )
        )

    # --- customers ------------------------------------------------------------------------------

    def _welcome(self, wanted: int) -> None:
        while len(self.buyers) < wanted:
            dice = self.dice
            number = len(self.buyers)
            zone = dice.choice(ZONES)
            buyer = Buyer(
                dice.id(),
                f"{self.ways.slug}-{number}",
                dice.randrange(3, 20),
                pays_by_transfer=dice.often(30),
                corrects=dice.often(50),
                haggles=dice.often(40),
            )
            if buyer.haggles:
                self.facts.places[buyer.id] = dice.choice(PLACES)
            self._enrol(buyer, zone)
            if not buyer.pays_by_transfer:
                self._give_card(buyer)
            several = dice.often(25)
            for _ in range(dice.randrange(2, 4) if several else 1):
                self._subscribe(buyer, zone, several=several)
            self.buyers.append(buyer)

    def _enrol(self, buyer: Buyer, zone: str) -> None:
        place = self.facts.places.get(buyer.id)
        address = {"country": place.country, "state": place.region} if place else {}
        self.trouble.survive(
            lambda: create_customer(
                self.tenant.id,
                id=buyer.id,
                name=buyer.name,
                external_id=buyer.name,
                currency="USD",
                zone=zone,
                address=address,
                actor=ACTOR,
                at=self.now,
            )
        )

    def _give_card(self, buyer: Buyer) -> None:
        chosen, card = self.dice.id(), self.dice.choice(_CARDS)
        self.trouble.survive(
            lambda: add_payment_method(
                buyer.id,
                id=chosen,
                provider="sandbox",
                provider_ref=card,
                make_default=True,
                tenant_id=self.tenant.id,
                actor=ACTOR,
                at=self.now,
            )
        )

    def _subscribe(self, buyer: Buyer, zone: str, *, several: bool) -> None:
        dice = self.dice
        fit = [one for one in self._plans if not several or int(one[0]["key"][5:]) % 2]
        document, version_id = dice.choice(fit or self._plans[:1])
        if several and not fit:
            return
        last = document["phases"][-1]["charges"][0]
        currency = dice.choice(sorted({price["currency"] for price in last["prices"]}))
        has_trial = any(phase["kind"] == "trial" for phase in document["phases"])
        fact = SubscriptionFact(
            id=dice.id(),
            customer=buyer.id,
            tenant=self.tenant.id,
            plan=document,
            currency=currency,
            zone=zone,
            started_at=self._start(),
            calendar_aligned=dice.often(40),
            anchor_day=self._anchor_day(document),
            quantity=dice.randrange(1, 6),
            price_list=PRICE_LIST if dice.often(25) else None,
            trial_days=dice.randrange(20) if has_trial and dice.often(30) else None,
            term_months=dice.randrange(1, 5) if dice.often(20) else None,
            auto_renew=dice.often(50),
            basis=self.ways.basis,
        )
        self.trouble.survive(
            lambda: start_subscription(
                buyer.id,
                id=fact.id,
                plan_version_id=version_id,
                started_at=fact.started_at,
                alignment=Alignment.CALENDAR if fact.calendar_aligned else Alignment.ANNIVERSARY,
                anchor_day=fact.anchor_day,
                quantity=Decimal(fact.quantity),
                price_list_id=self.price_list.id if fact.price_list else None,
                external_id=external_id(fact.id),
                term=Cadence(Unit.MONTH, fact.term_months) if fact.term_months else None,
                auto_renew=fact.auto_renew,
                trial_days=fact.trial_days,
                currency=currency,
                actor=ACTOR,
                at=self.now,
            )
        )
        buyer.subscriptions.append(fact)
        self.facts.subscriptions.append(fact)

    def _start(self) -> datetime:
        """Return when somebody begins: now, a while ago, or soon; often at a midnight."""
        found = self.now
        if self.dice.often(50):
            found = self.dice.instant(self.now - 40 * _DAY, self.now + 25 * _DAY)
        if self.dice.often(40):
            found = found.replace(hour=0, minute=0, second=0)
        return found

    def _anchor_day(self, document: dict[str, Any]) -> int | None:
        found = units(document)
        if "day" in found or not self.dice.often(45):
            return None
        return (
            self.dice.randrange(1, 8)
            if "week" in found
            else self.dice.choice((1, 15, 28, 29, 30, 31))
        )

    # --- time -----------------------------------------------------------------------------------

    def _stride(self) -> timedelta:
        """Return how long nobody looks: hours, days, or a scheduler that was off for weeks."""
        kind = self.dice.randrange(20)
        if kind == 0:
            return self.dice.randrange(12, 40) * _DAY
        if kind < 4:  # noqa: PLR2004 -- of twenty
            return timedelta(minutes=self.dice.randrange(5, 1200))
        return timedelta(hours=self.dice.randrange(30, 130))

    def _sweep(self) -> None:
        """Do what the schedule would do, in its order, through all trouble."""
        at = self.now
        self.facts.stops.append(at)
        self._sweep_with(apply_due_changes)
        see_all_usage(self.trouble, wall=self.wall)
        self._sweep_with(apply_due)
        self.trouble.sweep(lambda: self._close(at))
        parts = (issue_due, mark_overdue, retry_collections, resolve_unknown, resolve_refunds)
        for part in parts:
            self._sweep_with(part)
        self.contesting.ask(at)

    def _do_jobs(self) -> None:
        """Do what follows from all that; none of it may wait for the next stop."""
        run_due(tenant_id=self.tenant.id)
        still = Job.objects.filter(tenant_id=self.tenant.id, state__in=_NOT_DONE)
        for name in still.values_list("name", flat=True):
            self.left.append(f"the job {name} is not done at {self.now}")

    def _sweep_with(self, part: Callable[..., int]) -> None:
        whose = {"clock_id": self.clock.id, "tenant_id": self.tenant.id}
        self.trouble.sweep(lambda: part(self.now, actor=ACTOR, **whose))

    def _close(self, at: datetime) -> None:
        """Close what is due; sometimes the run dies between two of its chunks."""
        try:
            close_due(
                at,
                actor=ACTOR,
                clock_id=self.clock.id,
                tenant_id=self.tenant.id,
                progress=lambda _: self.trouble.interrupted(),
            )
        except Interruption:
            close_due(at, actor=ACTOR, clock_id=self.clock.id, tenant_id=self.tenant.id)

    def _settle(self) -> None:
        """Bill what is due now and whatever changed, issue all of it, and hear every answer."""
        self.traffic.flush(self.now)
        self._sweep()
        for buyer in self.buyers:
            self._bill(buyer.id)
        drafts = Invoice.objects.filter(tenant=self.tenant, status=InvoiceStatus.DRAFT)
        for draft_id in list(drafts.values_list("id", flat=True)):
            self._issue(draft_id)
        run_due(tenant_id=self.tenant.id)
        for later in _QUESTIONS:
            for ask in (resolve_unknown, resolve_refunds):
                ask(self.now + later, clock_id=self.clock.id, tenant_id=self.tenant.id)
        run_due(tenant_id=self.tenant.id)

    def _bill(self, customer_id: UUID) -> None:
        request = self.dice.id()
        self.trouble.survive(
            lambda: bill_customer(
                customer_id,
                tenant_id=self.tenant.id,
                request_id=request,
                cutoff=self.now,
                issue=True,
                actor=ACTOR,
                at=self.now,
            )
        )

    def _issue(self, draft_id: UUID) -> None:
        self.trouble.survive(
            lambda: issue_invoice(draft_id, tenant_id=self.tenant.id, actor=ACTOR, at=self.now)
        )

    def _figures(self) -> str:
        documents = Invoice.objects.filter(tenant=self.tenant).count()
        return (
            f"{len(self.buyers)} customers, {len(self.facts.subscriptions)} subscriptions,"
            f" {len(self.facts.events)} events, {documents} documents"
        )
