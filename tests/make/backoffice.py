"""A world for the desk: rows of every model, of one tenant."""

from datetime import timedelta
from decimal import Decimal

from django.utils.crypto import get_random_string

from apps.backoffice.books import breaches
from apps.backoffice.models import BooksCheck, ClockAdvance
from apps.catalog.domain import ProductKind
from apps.catalog.operations.lists import create_product
from apps.core.audit import GENESIS
from apps.core.ids import new_id
from apps.core.models import (
    AuditEvent,
    AuditHead,
    AuditPending,
    AuditSeal,
    Heartbeat,
    IdempotencyRecord,
    Job,
)
from apps.customers.models import Customer, TaxId
from apps.invoicing.models import (
    AccrualLook,
    BalanceApplication,
    CreditPaidOut,
    Invoice,
    InvoiceTax,
    IssuedLogo,
    IssuedPdf,
    NumberSequence,
    ParkedCustomer,
)
from apps.ledger.models import JournalEntry
from apps.metering.domain import OrphanReason, OrphanStatus
from apps.metering.models import (
    ChangedUsage,
    EventsDropped,
    EventStream,
    Meter,
    MeterStamp,
    MeterVersion,
    OrphanEvent,
    RollupPosition,
    UsageRollup,
    UsageSubject,
)
from apps.payments.domain import PaymentStatus
from apps.payments.models import (
    Allocation,
    Collection,
    Dispute,
    Payment,
    PaymentMethod,
    Refund,
    SandboxCharge,
    SandboxRefund,
)
from apps.subscriptions.domain import ChangeVerb, Wish
from apps.subscriptions.models import Notice, ScheduledChange
from apps.subscriptions.operations import change_subscription
from apps.tenants.models import LoginTries, Tenant, TestClock
from apps.wallets.domain import TopOffKind
from apps.wallets.models import BurnedAhead, SettlementUndone, UsageSettlement
from apps.wallets.operations.wallets import TopOff
from tests.make.backtests import begin
from tests.make.books import unguarded
from tests.make.catalog import make_feature, make_offer, make_plan, make_price_list, make_transition
from tests.make.contracts import make_contract
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.invoicing import make_draft, make_issued
from tests.make.metering import make_amendment, make_meter
from tests.make.scope import in_its_scope
from tests.make.subscriptions import make_migration, make_subscription
from tests.make.taxes import make_tax_rate
from tests.make.tenants import ACTOR, AT, make_key, make_member
from tests.make.wallets import hold, make_grant, make_price, make_unit, make_wallet

_TAX_AMOUNTS = ("taxable", "amount", "taxable_before", "amount_before")


@in_its_scope
def make_world(tenant: Tenant) -> None:
    """Give the tenant a row of every kind, by operations where they exist in every state."""
    mark = get_random_string(8).lower()
    make_key(tenant)
    make_member(tenant)
    customer = make_customer(tenant, external_id=mark)
    TaxId.objects.create(tenant=tenant, customer=customer, kind="eu_vat", value=f"DE{mark}")
    make_price_list(tenant, mark)
    rate = make_tax_rate(tenant, key=mark, tax=mark, country="ZM")
    meter = make_meter(tenant)
    version = meter.versions.get()
    usage = {
        "key": "usage",
        "name": "Calls",
        "meter": meter.key,
        "pricing": {"model": "per_unit", "unit_price": "0.01"},
    }
    base = {"key": "base", "name": "Base", "pricing": {"model": "flat", "amount": "49.00"}}
    granted = [{"feature": make_feature(tenant.id).key, "limit": "3"}]
    plan = make_plan(tenant, [base, usage], features=granted)
    storage = create_product(
        tenant.id,
        id=new_id(),
        key=f"{mark}-extra",
        name="Extra",
        kind=ProductKind.ADD_ON,
        actor=ACTOR,
        at=AT,
    )
    extra = make_plan(tenant, product=storage.key)
    make_offer(tenant, {"product": plan.plan.product.key}, storage.key)
    make_transition(tenant, {"plan": plan.plan.key}, {"product": plan.plan.product.key})
    subscription = make_subscription(customer, plan)
    wish = Wish(ChangeVerb.ADD_ADD_ON, plan_version_id=extra.id, add_on_id=extra.plan_id)
    change_subscription(subscription.id, wish, change_id=new_id(), actor=ACTOR, at=AT)
    redeem(subscription, make_coupon(tenant, key=mark))
    make_contract(subscription)
    ScheduledChange.objects.create(
        tenant=tenant,
        subscription=subscription,
        verb=ChangeVerb.CANCEL,
        effective_at=AT + timedelta(days=30),
        arguments={"settlement": "prorate"},
        created_at=AT,
    )
    make_amendment(meter, make_customer(tenant))
    Notice.objects.create(
        tenant=tenant,
        subscription=subscription,
        kind="trial_ending",
        boundary_at=AT + timedelta(days=3),
        told_at=AT,
    )
    moving = make_subscription(customer, make_plan(tenant))
    make_migration(moving)
    begin(moving.plan_version)
    _usage(tenant, customer, version, mark)
    make_issued(customer, ["-5.00"])
    invoice = make_issued(customer)  # uses up what the credit memo gave
    memo = make_issued(customer, ["-5.00"])  # is paid back
    make_issued(customer, ["-9.00"])
    untaxed = dict.fromkeys(_TAX_AMOUNTS, 0)
    draft = make_draft(customer)
    InvoiceTax.objects.create(
        tenant=tenant,
        invoice=draft,
        scope_id=draft.id,
        rate=rate,
        name=rate.name,
        percentage=rate.percentage,
        rounding="per_rate",
        currency=draft.currency,
        **untaxed,
    )
    _documents(tenant, invoice, mark)
    _payments(tenant, invoice, memo, mark)
    _credit(tenant, customer, meter, mark)
    _machinery(tenant, mark)


def _credit(tenant: Tenant, customer: Customer, meter: Meter, mark: str) -> None:
    unit = make_unit(tenant, mark)
    make_price(meter, "1", unit)
    rule = TopOff(kind=TopOffKind.FIXED, amount=Decimal(5), low_watermark=Decimal(1))
    wallet = make_wallet(customer, unit=unit, top_off=rule)
    make_grant(wallet, "10")
    hold(wallet, "2")
    UsageSettlement.objects.create(
        tenant=tenant,
        customer=customer,
        invoice_id=new_id(),
        line_id=new_id(),
        meter=meter,
        service_start=AT,
        service_end=AT,
        amount=Decimal(1),
        currency="USD",
    )
    SettlementUndone.objects.create(invoice_id=new_id(), tenant_id=tenant.id, at=AT)
    BurnedAhead.objects.create(tenant=tenant, customer=customer, snapshot="1:1:")


def _usage(tenant: Tenant, customer: Customer, version: MeterVersion, mark: str) -> None:
    EventStream.objects.create(
        tenant=tenant, handle=mark, event_name=mark, subject_path="user", created_at=AT
    )
    OrphanEvent.objects.create(
        tenant=tenant,
        status=OrphanStatus.OPEN,
        key=mark,
        event_name="api_calls",
        subject="nobody",
        occurred_at=AT,
        received_at=AT,
        value=Decimal("1.5"),
        reason=OrphanReason.UNKNOWN_SUBJECT,
    )
    UsageRollup.objects.create(
        meter_version=version,
        tenant_id=tenant.id,
        customer_id=customer.id,
        grain=UsageRollup.Grain.HOUR,
        starts_at=AT,
        group='[""]',
        group_hash=new_id(),
        count=1,
        total=1,
        moment=1,
        last_at=AT,
        last_seq=1,
    )
    RollupPosition.objects.get_or_create(
        meter_version=version, defaults={"tenant_id": tenant.id, "born_xid": 1}
    )
    ChangedUsage.objects.create(customer=customer, tenant_id=tenant.id, since=AT, mark=1)
    MeterStamp.objects.get_or_create(tenant_id=tenant.id)
    EventsDropped.objects.get_or_create(id=1, defaults={"before": AT})
    if not UsageSubject.objects.filter(tenant_id=tenant.id).exists():
        raise AssertionError("starting a subscription registers its name for events")


def _documents(tenant: Tenant, invoice: Invoice, mark: str) -> None:
    assert BalanceApplication.objects.filter(tenant=tenant).exists()
    IssuedLogo.objects.create(tenant=tenant, sha256=mark, image="data:image/png;base64,")
    with unguarded("invoicing_issuedpdf"):  # no PDF is rendered for this
        IssuedPdf.objects.create(invoice=invoice, tenant_id=tenant.id, content=b"", made_at=AT)
    AccrualLook.objects.create(customer=invoice.customer, tenant_id=tenant.id, mark=1)
    ParkedCustomer.objects.create(
        customer=invoice.customer,
        tenant_id=tenant.id,
        reason="PriceMissing: no price in USD",
        cutoff_at=AT,
        parked_at=AT,
    )
    assert NumberSequence.objects.filter(tenant=tenant).exists()
    assert JournalEntry.objects.filter(tenant=tenant).exists()


def _payments(tenant: Tenant, invoice: Invoice, memo: Invoice, mark: str) -> None:
    customer = invoice.customer
    method = PaymentMethod.objects.create(
        tenant=tenant,
        customer=customer,
        provider="external",
        provider_ref=mark,
        label="Visa 4242",
        is_default=True,
        default_since=AT,
        created_at=AT,
    )
    payment = Payment.objects.create(
        tenant=tenant,
        status=PaymentStatus.SUCCEEDED,
        customer=customer,
        invoice=invoice,
        method=method,
        provider="external",
        currency="USD",
        amount=50,
        idempotency_key=mark,
        created_at=AT,
        settled_at=AT,
    )
    Allocation.objects.create(
        tenant=tenant,
        payment=payment,
        invoice=invoice,
        amount=50,
        currency="USD",
        allocated_at=AT,
    )
    refund = Refund.objects.create(
        tenant=tenant,
        customer=customer,
        payment=payment,
        provider="external",
        currency="USD",
        amount=5,
        reason="Goodwill",
        idempotency_key=mark,
        created_at=AT,
        ask_after=AT + timedelta(minutes=5),
    )
    Dispute.objects.create(
        tenant=tenant,
        customer=customer,
        payment=payment,
        provider="external",
        reference=f"case {mark}",
        currency="USD",
        amount=3,
        reason="Not recognised",
        evidence_due_at=AT + timedelta(days=14),
        opened_at=AT,
    )
    CreditPaidOut.objects.create(
        tenant=tenant,
        credit_memo=memo,
        refund_id=refund.id,
        amount=5,
        currency="USD",
        taken_at=AT,
    )
    SandboxRefund.objects.create(
        idempotency_key=mark,
        tenant_id=tenant.id,
        behaviour="sandbox_ok",
        charge=mark,
        amount=5,
        currency="USD",
        outcome="pending",
    )
    SandboxCharge.objects.create(
        idempotency_key=mark,
        tenant_id=tenant.id,
        behaviour="sandbox_ok",
        invoice=invoice.public_id,
        amount=50,
        currency="USD",
        outcome="succeeded",
    )
    Collection.objects.create(
        tenant=tenant, invoice=invoice, attempts=1, next_attempt_at=AT + timedelta(days=3)
    )


def _machinery(tenant: Tenant, mark: str) -> None:
    job = Job.objects.create(
        tenant_id=tenant.id,
        name="payments.collect_invoice",
        state=Job.State.DEAD,
        due_at=AT,
        ended_at=AT,
        attempts=8,
        reason="ProviderUnavailable: no answer",
    )
    Job.objects.create(tenant_id=tenant.id, name="after", due_at=AT, after=job)
    IdempotencyRecord.objects.create(
        tenant_id=tenant.id,
        principal="api_key:key_1",
        key=mark,
        fingerprint=b"0" * 32,
        leased_until=AT,
    )
    clock = TestClock.objects.create(tenant=tenant, name="clock", now=AT)
    ClockAdvance.objects.create(
        tenant=tenant, clock=clock, begins_at=AT, to=AT, reached=AT, created_at=AT, ended_at=AT
    )
    BooksCheck.objects.create(
        tenant=tenant, checked_at=AT, breaches=1, details=["ledger.balance: 1 row"]
    )
    event = AuditEvent.objects.filter(tenant_id=tenant.id, seal=None).first()
    assert event is not None
    AuditSeal.objects.create(
        tenant_id=tenant.id,
        number=AuditSeal.objects.filter(tenant_id=tenant.id).count() + 1,
        event=event,
        hash=GENESIS,
    )
    AuditHead.objects.get_or_create(tenant_id=tenant.id, defaults={"hash": GENESIS})
    assert AuditPending.objects.filter(tenant_id=tenant.id).exists()
    Heartbeat.objects.get_or_create(name="worker", defaults={"beaten_at": AT})
    LoginTries.objects.get_or_create(email_hash=b"0" * 32, defaults={"tries": 1, "since": AT})


def all_breaches() -> list[str]:
    """Return what is wrong with any books at all: nothing, if all is well."""
    return [str(one) for one in breaches(None)]
