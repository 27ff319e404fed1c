"""What operators do from the desk: by role, after a confirmation, as operations."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from moneyed import Money

from apps.core.ids import new_id
from apps.core.models import AuditEvent, Job
from apps.core.tenancy import tenant_scope
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice
from apps.metering.domain import OrphanStatus
from apps.metering.models import EventAmendment, OrphanEvent
from apps.metering.operations import ingest_batch
from apps.metering.queries import sender_of
from apps.payments.domain import PaymentStatus
from apps.payments.models import Payment
from apps.payments.operations.receiving import record_external_payment
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.tenants.desk import Desk
from apps.tenants.domain import Role
from apps.tenants.models import ApiKey, Membership, Operator, Tenant
from tests.integration.backoffice.test_pages import pages
from tests.make.backtests import begin
from tests.make.catalog import make_plan
from tests.make.contracts import make_contract
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.disputes import dispute
from tests.make.invoicing import fresh, make_draft, make_issued
from tests.make.metering import make_amendment, make_meter
from tests.make.payments import make_owing
from tests.make.refunds import pay_back
from tests.make.subscriptions import make_migration, make_subscription
from tests.make.taxes import make_tax_rate
from tests.make.tenants import ACTOR, AT, make_key, make_operator, make_tenant
from tests.make.wallets import hold, make_paid, make_wallet

# what each role may do, by the page's model and the verb's name; owners may do everything
ALLOWED = {
    Role.ADMIN: {
        "Backtest cancel",
        "PlanVersion backtest",
        "Coupon archive",
        "Invoice pay_memo_back",
        "Payment pay_back",
        "Refund fail_refund",
        "Refund settle_refund",
        "Dispute lose",
        "Dispute win",
        "ApiKey revoke",
        "Invoice cancel",
        "Invoice collect",
        "Invoice issue",
        "Invoice write_off",
        "Job revive",
        "EventAmendment undo",
        "OrphanEvent reattach",
        "Payment return",
        "Payment settle",
        "Contract end",
        "CouponRedemption end",
        "Subscription cancel",
        "Subscription cancel_now",
        "Subscription cancel_refund",
        "PlanMigration roll_back",
        "Subscription pause",
        "Subscription resume",
        "Subscription suspend",
        "Subscription uncancel",
        "CreditGrant refund",
        "CreditGrant void",
        "CreditHold release",
        "Wallet adjust",
        "Wallet close",
        "Wallet grant",
        "TaxRate archive",
    },
    Role.FINANCE: {
        "Backtest cancel",
        "PlanVersion backtest",
        "Invoice pay_memo_back",
        "Payment pay_back",
        "Refund fail_refund",
        "Refund settle_refund",
        "Dispute lose",
        "Dispute win",
        "Invoice cancel",
        "Invoice collect",
        "Invoice issue",
        "Invoice write_off",
        "Payment return",
        "Payment settle",
        "CreditGrant refund",
        "CreditGrant void",
        "CreditHold release",
        "Wallet adjust",
        "Wallet close",
        "Wallet grant",
        "TaxRate archive",
    },
    Role.SUPPORT: {
        "EventAmendment undo",
        "OrphanEvent reattach",
        "Contract end",
        "CouponRedemption end",
        "Subscription cancel",
        "Subscription cancel_now",
        "PlanMigration roll_back",
        "Subscription pause",
        "Subscription resume",
        "Subscription suspend",
        "Subscription uncancel",
    },
    Role.DEVELOPER: {
        "Coupon archive",
        "ApiKey revoke",
        "EventAmendment undo",
        "Job revive",
        "OrphanEvent reattach",
    },
    Role.READ_ONLY: set(),
}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return make_tenant(slug="desk")


def client_of(tenant: Tenant, role: Role) -> tuple[Client, Operator]:
    operator = make_operator()
    with tenant_scope(tenant.id):
        Membership.objects.create(tenant=tenant, operator=operator, role=role)
    client = Client()
    client.force_login(operator)
    return client, operator


def verb_url(row: Any, verb: str) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_verb", args=[row.pk, verb])


def page_url(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def list_url(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def make_dead_job(tenant: Tenant) -> Job:
    return Job.objects.create(
        tenant_id=tenant.id, name="x", state=Job.State.DEAD, due_at=AT, ended_at=AT, attempts=8
    )


def rows_to_act_on(tenant: Tenant) -> dict[str, Any]:
    customer = make_customer(tenant)
    make_key(tenant)
    wallet = make_wallet(customer)
    grant = make_paid(wallet)
    coupon = make_coupon(tenant)
    subscription = make_subscription(customer, make_plan(tenant))
    return {
        "Backtest": begin(subscription.plan_version),
        "PlanVersion": subscription.plan_version,
        "Contract": make_contract(subscription),
        "Coupon": coupon,
        "CouponRedemption": redeem(subscription, coupon),
        "Refund": pay_back(make_received(make_issued(make_customer(tenant)))),
        "Dispute": dispute(make_received(make_issued(make_customer(tenant)))),
        "CreditGrant": grant,
        "CreditHold": hold(wallet, "1.00"),
        "Wallet": wallet,
        "ApiKey": ApiKey.objects.get(tenant=tenant),
        "EventAmendment": make_amendment(make_meter(tenant), customer),
        "Invoice": make_draft(customer),
        "Job": make_dead_job(tenant),
        "OrphanEvent": make_orphan(tenant),
        "Payment": make_received(make_issued(make_customer(tenant))),
        "PlanMigration": make_migration(subscription),
        "Subscription": subscription,
        "TaxRate": make_tax_rate(tenant),
    }


def make_received(invoice: Invoice) -> Payment:
    """Return money that came for the invoice by itself."""
    return record_external_payment(
        invoice.id, id=new_id(), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT
    )


def make_orphan(tenant: Tenant) -> OrphanEvent:
    """Return an event that names a customer who is not there."""
    name = make_meter(tenant).key
    item = {
        "idempotency_key": "stray",
        "event_name": name,
        "customer": "late-comer",
        "timestamp": AT.isoformat(),
        "value": "5",
    }
    ingest_batch(sender_of(tenant), [item], at=AT)
    return OrphanEvent.objects.get(tenant=tenant)


def verbs() -> list[tuple[str, str]]:
    return [(model.__name__, verb.name) for model, page in pages() for verb in Desk.all_verbs(page)]


@pytest.mark.parametrize("role", list(Role))
def test_a_role_is_offered_what_it_may_do_and_refused_the_rest(tenant: Tenant, role: Role) -> None:
    client, _ = client_of(tenant, role)
    rows = rows_to_act_on(tenant)
    found = {
        f"{model} {verb}": client.get(verb_url(rows[model], verb)).status_code
        for model, verb in verbs()
    }
    allowed = ALLOWED.get(role, set(found))
    assert found == {name: 200 if name in allowed else 403 for name in found}


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.DEVELOPER, Role.READ_ONLY])
def test_asking_past_the_page_does_nothing(tenant: Tenant, role: Role) -> None:
    client, _ = client_of(tenant, role)
    draft = make_draft(make_customer(tenant))
    assert client.post(verb_url(draft, "issue")).status_code == 403
    client.post(
        list_url(Invoice),
        {"action": "issue", "_selected_action": [str(draft.pk)], "confirmed": "yes"},
    )
    assert fresh(draft).status == InvoiceStatus.DRAFT


def test_a_page_shows_the_verbs_that_fit(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.OWNER)
    draft = client.get(page_url(make_draft(make_customer(tenant)))).content.decode()
    issued = client.get(page_url(make_issued(make_customer(tenant)))).content.decode()
    assert ("verb/issue/" in draft, "verb/cancel/" in draft) == (True, False)
    assert ("verb/issue/" in issued, "verb/cancel/" in issued) == (False, True)


def test_looking_at_the_question_does_nothing(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.FINANCE)
    draft = make_draft(make_customer(tenant))
    page = client.get(verb_url(draft, "issue")).content.decode()
    assert "never changes again" in page
    assert fresh(draft).status == InvoiceStatus.DRAFT


def test_issue_is_the_operation_by_the_operator(tenant: Tenant) -> None:
    client, operator = client_of(tenant, Role.FINANCE)
    draft = make_draft(make_customer(tenant))
    answer = client.post(verb_url(draft, "issue"))
    assert (answer.status_code, answer.headers["Location"]) == (302, page_url(draft))
    issued = fresh(draft)
    assert (issued.status, issued.display_number) == (InvoiceStatus.ISSUED, "INV-000001")
    event = AuditEvent.objects.get(type="invoice.issued", object_id=issued.public_id)
    assert event.actor == f"operator:{operator.public_id}"
    assert f"operator:{operator.public_id}" in client.get(page_url(draft)).content.decode()


def test_issuing_twice_issues_once(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.FINANCE)
    draft = make_draft(make_customer(tenant))
    client.post(verb_url(draft, "issue"))
    client.post(verb_url(draft, "issue"))
    assert AuditEvent.objects.filter(type="invoice.issued").count() == 1


def test_several_rows_are_asked_about_then_done(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.FINANCE)
    drafts = [make_draft(make_customer(tenant)) for _ in range(2)]
    chosen = {"action": "issue", "_selected_action": [str(one.pk) for one in drafts]}
    question = client.post(list_url(Invoice), chosen)
    assert question.status_code == 200
    assert {fresh(one).status for one in drafts} == {InvoiceStatus.DRAFT}
    assert client.post(list_url(Invoice), {**chosen, "confirmed": "yes"}).status_code == 302
    assert {fresh(one).status for one in drafts} == {InvoiceStatus.ISSUED}


def test_one_that_is_refused_does_not_stop_the_others(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.FINANCE)
    issued, draft = make_issued(make_customer(tenant)), make_draft(make_customer(tenant))
    rows = [str(draft.pk), str(issued.pk)]
    answer = client.post(
        list_url(Invoice),
        {"action": "cancel", "_selected_action": rows, "confirmed": "yes"},
        follow=True,
    )
    assert {fresh(issued).status, fresh(draft).status} == {
        InvoiceStatus.CANCELED,
        InvoiceStatus.DRAFT,
    }
    levels = [one.level_tag for one in answer.context["messages"]]
    assert sorted(levels) == ["error", "success"]


@pytest.mark.holds("B126")
def test_too_many_rows_at_once_are_refused(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.DEVELOPER)
    jobs = [make_dead_job(tenant) for _ in range(101)]
    answer = client.post(
        list_url(Job),
        {
            "action": "revive",
            "_selected_action": [str(one.pk) for one in jobs],
            "confirmed": "yes",
        },
    )
    assert answer.status_code == 302
    assert Job.objects.filter(state=Job.State.DEAD).count() == 101


def test_revive_gives_a_dead_job_its_attempts_back(tenant: Tenant) -> None:
    client, operator = client_of(tenant, Role.DEVELOPER)
    job = make_dead_job(tenant)
    client.post(verb_url(job, "revive"))
    job.refresh_from_db()
    assert (job.state, job.attempts) == (Job.State.PENDING, 0)
    assert AuditEvent.objects.get(type="job.revived").actor == f"operator:{operator.public_id}"


def test_revoke_ends_a_key(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.DEVELOPER)
    make_key(tenant)
    key = ApiKey.objects.get()
    client.post(verb_url(key, "revoke"))
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_collect_charges_the_default_method_once(db: None) -> None:
    invoice = make_owing("sandbox_ok")
    client, operator = client_of(invoice.tenant, Role.FINANCE)
    answer = {"effect": str(new_id())}
    client.post(verb_url(invoice, "collect"), answer)
    client.post(verb_url(invoice, "collect"), answer)
    payment = Payment.objects.get()
    assert (payment.status, payment.amount) == (PaymentStatus.SUCCEEDED, Money("149.00", "USD"))
    assert fresh(invoice).status == InvoiceStatus.PAID
    began = AuditEvent.objects.filter(object_id=payment.public_id).order_by("at", "id")[0]
    assert began.actor == f"operator:{operator.public_id}"


def test_collect_says_why_it_failed(db: None) -> None:
    invoice = make_owing("sandbox_declined")
    client, _ = client_of(invoice.tenant, Role.FINANCE)
    page = client.post(verb_url(invoice, "collect"), follow=True)
    assert [str(one) for one in page.context["messages"]] == ["INV-000001: The card was declined."]


def test_cancel_ends_a_subscription_with_its_period(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.SUPPORT)
    subscription = make_subscription(make_customer(tenant), make_plan(tenant))
    client.post(verb_url(subscription, "cancel"))
    assert ScheduledChange.objects.get().subscription == subscription


def test_cancel_now_ends_a_subscription_at_once(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.SUPPORT)
    subscription = make_subscription(make_customer(tenant), make_plan(tenant))
    client.post(verb_url(subscription, "cancel_now"))
    assert Subscription.objects.get(pk=subscription.pk).status == "ended"


def test_a_subscription_is_paused_suspended_and_resumed(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.SUPPORT)
    subscription = make_subscription(make_customer(tenant), make_plan(tenant))
    for verb, status in (("suspend", "suspended"), ("pause", "paused"), ("resume", "active")):
        client.post(verb_url(subscription, verb))
        assert Subscription.objects.get(pk=subscription.pk).status == status


def test_a_cancellation_is_taken_back(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.SUPPORT)
    subscription = make_subscription(make_customer(tenant), make_plan(tenant))
    client.post(verb_url(subscription, "cancel"))
    client.post(verb_url(subscription, "uncancel"))
    assert ScheduledChange.objects.get().status == "withdrawn"


def test_an_orphan_is_attached_once_its_customer_is_there(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.SUPPORT)
    orphan = make_orphan(tenant)
    page = client.post(verb_url(orphan, "reattach"), follow=True)
    assert "still matches nothing" in str(next(iter(page.context["messages"])))
    make_customer(tenant, external_id="late-comer")
    client.post(verb_url(orphan, "reattach"))
    orphan.refresh_from_db()
    assert orphan.status == OrphanStatus.ATTACHED


def test_a_verb_of_another_tenant_is_out_of_reach(tenant: Tenant) -> None:
    client, _ = client_of(make_tenant(slug="other"), Role.OWNER)
    draft = make_draft(make_customer(tenant))
    assert client.post(verb_url(draft, "issue")).status_code == 404
    assert fresh(draft).status == InvoiceStatus.DRAFT


def test_a_verb_needs_the_token_against_forged_requests(tenant: Tenant) -> None:
    operator = make_operator(is_superuser=True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    draft = make_draft(make_customer(tenant))
    assert client.post(verb_url(draft, "issue")).status_code == 403
    assert fresh(draft).status == InvoiceStatus.DRAFT


def test_the_pdf_of_an_invoice_is_a_click_away(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.READ_ONLY)
    invoice = make_issued(make_customer(tenant))
    answer = client.get(reverse("admin:invoicing_invoice_download", args=[invoice.pk, "pdf"]))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/pdf")
    assert answer.content.startswith(b"%PDF")


def test_an_amendment_is_undone_after_a_look_at_what_it_costs(tenant: Tenant) -> None:
    client, _ = client_of(tenant, Role.SUPPORT)
    customer = make_customer(tenant)
    meter = make_meter(tenant, key="calls")
    price = {"model": "per_unit", "unit_price": "0.25"}
    make_subscription(customer, make_plan(tenant, [{"meter": "calls", "pricing": price}]))
    amendment = make_amendment(meter, customer)
    answer = client.get(
        reverse("admin:metering_eventamendment_download", args=[amendment.pk, "undoing"])
    )
    assert [line.split(",")[4:] for line in answer.content.decode().splitlines()] == [
        ["billed", "difference", "currency"],
        ["no", "-0.25", "USD"],
    ]
    assert EventAmendment.objects.count() == 1
    client.post(verb_url(amendment, "undo"), {"effect": str(new_id()), "reason": "it was right"})
    undone = EventAmendment.objects.get(undoes=amendment)
    assert (undone.voided, undone.reason) == (1, "it was right")


def test_a_dispute_is_decided_for_a_reason(tenant: Tenant) -> None:
    client, operator = client_of(tenant, Role.FINANCE)
    case = dispute(make_received(make_issued(make_customer(tenant))))
    page = client.get(page_url(case)).content.decode()
    assert ("verb/win/" in page, "verb/lose/" in page) == (True, True)
    client.post(verb_url(case, "win"), {"effect": str(new_id()), "reason": "the bank says so"})
    case.refresh_from_db()
    told = AuditEvent.objects.get(type="dispute.won")
    assert (case.status, told.actor) == ("won", f"operator:{operator.public_id}")
    assert told.data["reason"] == "the bank says so"
    page = client.get(page_url(case)).content.decode()
    assert ("verb/win/" in page, "verb/lose/" in page) == (False, False)
