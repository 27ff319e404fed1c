"""Collecting without being asked: at issue, by the timetable, and from money on account."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.core.models import Job
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.ledger.domain import AccountKind, AccountRef, FactKind
from apps.ledger.models import JournalEntry
from apps.ledger.queries import account_balance
from apps.payments.domain import PaymentStatus
from apps.payments.models import Allocation, Collection, Payment
from apps.payments.operations.attempts import begin_payment, charge_invoice
from apps.payments.operations.collecting import collect_invoice, end_collection, retry_collections
from apps.payments.operations.methods import set_default
from apps.payments.operations.outcomes import fail_payment
from apps.payments.operations.receiving import record_external_payment
from apps.payments.operations.resolving import resolve_unknown
from apps.payments.providers.interface import ChargeRequest, Outcome
from apps.payments.providers.sandbox import Sandbox
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_draft, make_issued
from tests.make.payments import broken_rules, make_method, make_owing, make_payer, taken, usd
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def collect(invoice: Invoice, at: datetime = AT) -> Payment | None:
    return collect_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=at)


def told(invoice: Invoice, at: datetime = AT) -> dict[str, Any]:
    return {"tenant_id": invoice.tenant_id, "actor": ACTOR, "at": at}


def set_retry_days(invoice: Invoice, days: list[int]) -> None:
    Tenant.objects.filter(id=invoice.tenant_id).update(retry_days=days)


def test_an_issued_invoice_is_charged_to_the_default_method() -> None:
    invoice = make_owing("sandbox_ok")

    payment = collect(invoice)

    assert payment is not None
    assert (payment.status, payment.automatic, payment.amount) == ("succeeded", True, usd("149.00"))
    assert fresh(invoice).status == "paid"
    collection = Collection.objects.get()
    assert (collection.attempts, collection.next_attempt_at, collection.closed_at) == (0, None, AT)
    assert broken_rules() == []


def test_a_repeat_begins_nothing_again() -> None:
    declined, delayed = make_owing("sandbox_declined"), make_owing("sandbox_delayed")
    collect(declined)
    collect(delayed)

    assert collect(declined) is None
    assert collect(delayed) is None

    assert Payment.objects.count() == 2
    assert Collection.objects.count() == 2


def test_the_job_of_the_event_collects() -> None:
    invoice = make_owing("sandbox_ok")

    run_due()

    assert Job.objects.get(name="payments.collect_invoice").state == "done"
    assert fresh(invoice).status == "paid"


def test_without_a_method_that_can_be_charged_it_waits() -> None:
    none = make_owing(None)
    not_default = make_owing(None)
    make_method(not_default.customer, default=False)
    bank = make_owing(None)
    make_method(bank.customer, "iban", provider="external")
    for invoice in (none, not_default, bank):
        assert collect(invoice) is None

    assert not Payment.objects.exists()
    assert {
        c.invoice_id: (c.last_failure, c.next_attempt_at) for c in Collection.objects.all()
    } == {
        none.id: ("The customer has no default payment method.", None),
        not_default.id: ("The customer has no default payment method.", None),
        bank.id: ("Money by external arrives by itself.", None),
    }


def test_where_the_tenant_collects_by_hand_it_waits() -> None:
    invoice = make_owing("sandbox_ok")
    Tenant.objects.filter(id=invoice.tenant_id).update(auto_collect=False)

    assert collect(invoice) is None

    assert not Payment.objects.exists()
    waiting = Collection.objects.get(invoice=invoice)
    assert waiting.last_failure == "The tenant does not collect by itself."
    assert waiting.next_attempt_at is None


def test_a_method_that_became_the_default_after_the_issue_is_not_charged_by_itself() -> None:
    invoice = make_owing(None)
    method = make_method(invoice.customer, default=False)
    set_default(method.id, **told(invoice, AT + timedelta(seconds=1)))

    assert collect(invoice, AT + timedelta(seconds=2)) is None

    assert Collection.objects.get().last_failure == (
        "The customer had no such payment method when it was issued."
    )
    assert fresh(invoice).status == "issued"
    assert taken(invoice) == Decimal(0)


def test_what_asks_for_no_money_is_not_collected() -> None:
    payer = make_payer()
    paid = make_issued(payer, ["0.00"])
    memo = make_issued(payer, ["-5.00"])
    draft = make_draft(payer)

    for document in (paid, memo, draft):
        assert collect(document) is None

    assert not Collection.objects.exists()
    with pytest.raises(NotFound):
        collect_invoice(new_id(), tenant_id=payer.tenant_id, actor=ACTOR, at=AT)


def test_a_declined_invoice_is_tried_again_by_the_timetable_and_then_no_more() -> None:
    invoice = make_owing("sandbox_declined")
    set_retry_days(invoice, [1, 3, 7])
    collect(invoice)

    def state() -> tuple[int, datetime | None]:
        collection = Collection.objects.get()
        return collection.attempts, collection.next_attempt_at

    assert state() == (1, AT + 1 * DAY)
    assert retry_collections(AT + 1 * DAY - timedelta(seconds=1)) == 0
    assert retry_collections(AT + 1 * DAY) == 1
    assert state() == (2, AT + 3 * DAY)
    # the scheduler was off for a week: what is due is tried once, not once for every day
    assert retry_collections(AT + 9 * DAY) == 1
    assert state() == (3, AT + 7 * DAY)
    assert retry_collections(AT + 9 * DAY) == 1
    assert state() == (4, None)
    assert retry_collections(AT + 99 * DAY) == 0

    collection = Collection.objects.get()
    assert (collection.first_failed_at, collection.closed_at) == (AT, None)
    assert collection.last_failure == "The card was declined."
    assert [p.status for p in Payment.objects.all()] == ["failed"] * 4
    assert fresh(invoice).status == "issued"
    assert broken_rules() == []


def test_a_retry_that_succeeds_closes_the_collection() -> None:
    invoice = make_owing("sandbox_declined_once")
    collect(invoice)

    assert retry_collections(AT + 1 * DAY) == 1

    assert fresh(invoice).status == "paid"
    collection = Collection.objects.get()
    assert (collection.closed_at, collection.next_attempt_at) == (AT + 1 * DAY, None)
    assert taken(invoice) == Decimal(149)
    assert retry_collections(AT + 99 * DAY) == 0


def test_a_retry_uses_the_method_that_is_default_by_then() -> None:
    invoice = make_owing("sandbox_declined")
    collect(invoice)
    good = make_method(invoice.customer, "sandbox_ok", default=False)
    set_default(good.id, **told(invoice, AT + timedelta(hours=1)))

    retry_collections(AT + 1 * DAY)

    assert fresh(invoice).status == "paid"
    assert Payment.objects.get(status="succeeded").method_id == good.id


def test_a_tenant_without_a_timetable_tries_once() -> None:
    invoice = make_owing("sandbox_declined")
    set_retry_days(invoice, [])

    collect(invoice)

    assert Collection.objects.get().next_attempt_at is None
    assert retry_collections(AT + 99 * DAY) == 0


def test_a_payment_by_hand_leaves_the_timetable_alone() -> None:
    invoice = make_owing("sandbox_declined")
    collect(invoice)

    failed = charge_invoice(invoice.id, id=new_id(), **told(invoice, AT + timedelta(hours=1)))

    assert failed.status == "failed"
    collection = Collection.objects.get()
    assert (collection.attempts, collection.next_attempt_at) == (1, AT + 1 * DAY)


def test_paying_by_hand_ends_the_collection() -> None:
    invoice = make_owing("sandbox_declined")
    collect(invoice)
    good = make_method(invoice.customer, default=False)

    charge_invoice(invoice.id, id=new_id(), method_id=good.id, **told(invoice))

    assert Collection.objects.get().closed_at == AT
    assert retry_collections(AT + 99 * DAY) == 0
    assert taken(invoice) == Decimal(149)


def test_part_of_it_paid_by_hand_leaves_the_rest_to_the_timetable() -> None:
    invoice = make_owing("sandbox_declined_once")
    collect(invoice)
    record_external_payment(invoice.id, id=new_id(), amount=usd("100.00"), **told(invoice))

    retry_collections(AT + 1 * DAY)

    assert fresh(invoice).status == "paid"
    assert taken(invoice) == Decimal(49)
    assert broken_rules() == []


def test_while_another_payment_is_in_flight_the_retry_waits() -> None:
    invoice = make_owing("sandbox_declined")
    collect(invoice)
    begun = begin_payment(invoice.id, id=new_id(), **told(invoice))

    assert retry_collections(AT + 1 * DAY) == 0

    assert Collection.objects.get().next_attempt_at == AT + 1 * DAY + timedelta(minutes=5)
    fail_payment(begun.id, code="card_declined", message="", **told(invoice))
    assert retry_collections(AT + 1 * DAY + timedelta(minutes=5)) == 1


def test_an_unknown_outcome_never_starts_a_second_charge() -> None:
    invoice = make_owing("sandbox_timeout")

    collect(invoice)

    assert Collection.objects.get().next_attempt_at is None
    assert retry_collections(AT + 99 * DAY) == 0
    assert [p.status for p in Payment.objects.all()] == [PaymentStatus.UNKNOWN]
    resolve_unknown(AT + timedelta(minutes=5))
    assert fresh(invoice).status == "paid"
    assert Collection.objects.get().closed_at == AT + timedelta(minutes=5)
    assert taken(invoice) == Decimal(149)


def test_a_lost_charge_is_tried_again_once_it_is_known_to_be_lost() -> None:
    invoice = make_owing("sandbox_timeout_lost")
    collect(invoice)

    resolve_unknown(AT + timedelta(minutes=5))
    assert retry_collections(AT + 99 * DAY) == 0
    resolve_unknown(AT + timedelta(minutes=65))

    lost = AT + timedelta(minutes=65)
    collection = Collection.objects.get()
    assert (collection.attempts, collection.next_attempt_at) == (1, lost + 1 * DAY)
    set_default(make_method(invoice.customer, default=False).id, **told(invoice))
    assert retry_collections(lost + 1 * DAY) == 1
    assert fresh(invoice).status == "paid"


def test_a_canceled_or_written_off_invoice_is_collected_no_more() -> None:
    canceled, given_up = make_owing("sandbox_declined"), make_owing("sandbox_declined")
    for invoice in (canceled, given_up):
        collect(invoice)
    cancel_invoice(canceled.id, **told(canceled))
    write_off_invoice(given_up.id, reason="gone", **told(given_up))

    assert retry_collections(AT + 1 * DAY) == 0

    assert {c.closed_at for c in Collection.objects.all()} == {AT + 1 * DAY}
    assert Payment.objects.count() == 2


def test_the_jobs_of_canceling_and_writing_off_end_the_collection() -> None:
    canceled, given_up, still = (make_owing("sandbox_declined") for _ in range(3))
    run_due()
    cancel_invoice(canceled.id, **told(canceled))
    write_off_invoice(given_up.id, reason="gone", **told(given_up))

    run_due()
    end_collection(still.id, tenant_id=still.tenant_id, at=AT)

    closed = Collection.objects.filter(closed_at__isnull=False)
    assert set(closed.values_list("invoice_id", flat=True)) == {canceled.id, given_up.id}


def overpaid(customer: Customer, over: str) -> None:
    first = make_issued(customer, ["10.00"])
    record_external_payment(first.id, id=new_id(), amount=usd("10.00") + usd(over), **told(first))


def test_money_on_account_pays_the_next_invoice_before_the_method_is_charged() -> None:
    customer = make_payer("sandbox_ok")
    overpaid(customer, "30.00")
    overpaid(customer, "20.00")
    invoice = make_issued(customer, ["149.00"])

    payment = collect(invoice)

    assert payment is not None
    assert payment.amount == usd("99.00")
    assert fresh(invoice).status == "paid"
    used = Allocation.objects.filter(invoice=invoice).order_by("id")
    assert [a.amount for a in used] == [Decimal(30), Decimal(20), Decimal(99)]
    entries = JournalEntry.objects.filter(kind=FactKind.BALANCE_APPLIED)
    assert {e.source_key for e in entries} == {a.public_id for a in used[:2]}
    balance = AccountRef(AccountKind.CUSTOMER_BALANCE, "USD", customer_id=customer.id)
    assert account_balance(customer.tenant_id, balance) == Decimal(0)
    assert broken_rules() == []


def test_enough_money_on_account_pays_without_a_method() -> None:
    customer = make_payer(None)
    overpaid(customer, "200.00")
    invoice = make_issued(customer, ["149.00"])

    assert collect(invoice) is None

    assert fresh(invoice).status == "paid"
    assert Collection.objects.get(invoice=invoice).closed_at == AT
    balance = AccountRef(AccountKind.CUSTOMER_BALANCE, "USD", customer_id=customer.id)
    assert account_balance(customer.tenant_id, balance) == Decimal(-51)
    assert broken_rules() == []


def test_money_on_account_of_others_or_in_another_currency_is_left_alone() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    overpaid(make_customer(tenant), "200.00")
    invoice = make_issued(make_customer(tenant, currency="EUR"), ["149.00"])

    collect(invoice)

    assert fresh(invoice).amount_paid.amount == Decimal(0)


def test_sweeps_leave_customers_on_a_clock_to_their_clock() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant)
    real = make_issued(make_payer("sandbox_declined", tenant=tenant))
    simulated = make_issued(make_payer("sandbox_declined", tenant=tenant, test_clock_id=clock.id))
    for invoice in (real, simulated):
        collect(invoice)

    assert retry_collections(AT + 1 * DAY) == 1
    assert set(Payment.objects.values_list("invoice_id", flat=True).order_by()) == {
        real.id,
        simulated.id,
    }
    assert Payment.objects.filter(invoice=simulated).count() == 1
    assert retry_collections(AT + 1 * DAY, clock_id=clock.id) == 1
    assert Payment.objects.filter(invoice=simulated).count() == 2
    assert retry_collections(AT + 99 * DAY, tenant_id=make_tenant().id) == 0


@time_machine.travel(AT + 40 * DAY, tick=False)
def test_the_job_lives_in_the_customers_time() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant)
    on_clock = make_issued(make_payer("sandbox_ok", tenant=tenant, test_clock_id=clock.id))
    in_real_time = make_issued(make_payer("sandbox_ok", tenant=tenant))

    run_due()

    settled = dict(Payment.objects.values_list("invoice_id", "settled_at"))
    assert settled == {on_clock.id: AT, in_real_time.id: AT + 40 * DAY}


def test_one_collection_that_breaks_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = make_owing("sandbox_declined"), make_owing("sandbox_declined_once")
    for invoice in (broken, fine):
        collect(invoice)
    charge = Sandbox.charge

    def crash_for_one(self: Sandbox, request: ChargeRequest) -> Outcome:
        if request.method_ref == "sandbox_declined":
            raise ZeroDivisionError
        return charge(self, request)

    monkeypatch.setattr(Sandbox, "charge", crash_for_one)

    assert retry_collections(AT + 1 * DAY) == 2

    assert fresh(fine).status == "paid"
    assert [p.status for p in Payment.objects.filter(invoice=broken)] == ["sent", "failed"]
    assert f"collecting the invoice {broken.id} again failed" in caplog.text
