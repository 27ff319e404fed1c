"""Payments and the efforts to collect on the desk."""

from typing import Final

from django import forms
from django.contrib import admin

from apps.core.clock import now
from apps.core.errors import PaymentDeclined
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.invoicing.domain import COLLECTABLE, DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice
from apps.payments.domain import (
    IN_FLIGHT,
    REFUND_OPEN,
    DisputeStatus,
    FailureCode,
    PaymentNotHeld,
    PaymentStatus,
    RefundNotHeld,
    RefundStatus,
)
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
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.disputing import lose_dispute, win_dispute
from apps.payments.operations.outcomes import fail_payment, settle_payment
from apps.payments.operations.refund_outcomes import fail_refund, settle_refund
from apps.payments.operations.refunding import refund_memo, refund_payment
from apps.tenants.desk import (
    By,
    Desk,
    DeskInline,
    Verb,
    amount,
    ident,
    instant,
    itself,
    link,
    named,
    offer,
    plain,
    reason_field,
    status,
)


def _collect(invoice: Invoice, by: By) -> None:
    payment = charge_invoice(
        invoice.id,
        id=by.effect_id,
        tenant_id=invoice.tenant_id,
        actor=by.actor,
        at=customer_now(invoice.customer, wall=now()),
    )
    if payment.status == PaymentStatus.FAILED:
        raise PaymentDeclined(payment.failure_message)


COLLECT = Verb(
    name="collect",
    label="Collect",
    icon="credit_score",
    resource="payments",
    run=_collect,
    fits=lambda invoice: invoice.kind == DocumentKind.INVOICE and invoice.status in COLLECTABLE,
    warning="All that is due is charged to the customer's default payment method, now.",
)


def _is_held(payment: Payment) -> bool:
    return payment.status in IN_FLIGHT and payment.failure_code == FailureCode.OUTCOME_MISMATCH


def _refuse_unless_held(payment: Payment) -> None:
    if not _is_held(payment):
        raise PaymentNotHeld(f"It is {payment.status} and waits for nobody.")


def _settle(payment: Payment, by: By) -> None:
    _refuse_unless_held(payment)
    settle_payment(
        payment.id,
        received=payment.amount,
        provider_ref=None,
        tenant_id=payment.tenant_id,
        actor=by.actor,
        at=customer_now(payment.customer, wall=now()),
    )


def _return(payment: Payment, by: By) -> None:
    _refuse_unless_held(payment)
    fail_payment(
        payment.id,
        code=FailureCode.OUTCOME_MISMATCH.value,
        message=f"Returned: {payment.failure_message}",
        tenant_id=payment.tenant_id,
        actor=by.actor,
        at=customer_now(payment.customer, wall=now()),
    )


HELD: Final = (
    Verb(
        name="settle",
        label="Settle as asked",
        icon="price_check",
        resource="payments",
        run=_settle,
        fits=_is_held,
        warning="The amount that was asked for is booked as received. Make sure at the provider"
        " that it is there: what it took beside must be returned or charged by hand.",
    ),
    Verb(
        name="return",
        label="Note as returned",
        icon="undo",
        resource="payments",
        run=_return,
        fits=_is_held,
        warning="Nothing is booked, and the invoice can be charged anew. Return the money at the"
        " provider first: this does not.",
    ),
)


def _refund(payment: Payment, by: By) -> None:
    refund = refund_payment(
        payment.id,
        id=by.effect_id,
        reason="Paid back at the desk",
        tenant_id=payment.tenant_id,
        actor=by.actor,
        at=customer_now(payment.customer, wall=now()),
    )
    if refund.status == RefundStatus.FAILED:
        raise PaymentDeclined(refund.failure_message)


def _refund_memo(memo: Invoice, by: By) -> None:
    refunds = refund_memo(
        memo.id,
        id=by.effect_id,
        reason="Paid back at the desk",
        tenant_id=memo.tenant_id,
        actor=by.actor,
        at=customer_now(memo.customer, wall=now()),
    )
    failed = [one for one in refunds if one.status == RefundStatus.FAILED]
    if failed:
        raise PaymentDeclined(failed[0].failure_message)


PAY_BACK: Final = Verb(
    name="pay_back",
    label="Pay back",
    icon="currency_exchange",
    resource="payments",
    run=_refund,
    fits=lambda payment: payment.status == PaymentStatus.SUCCEEDED,
    warning="All that is left of it goes back to where it came from, now. Its invoices are credited,"
    " and prepaid credit that they sold is taken back. For a part of it use the API.",
)
PAY_MEMO_BACK: Final = Verb(
    name="pay_memo_back",
    label="Pay back",
    icon="currency_exchange",
    resource="payments",
    run=_refund_memo,
    fits=lambda memo: memo.kind == DocumentKind.CREDIT_MEMO and memo.status == InvoiceStatus.ISSUED,
    warning="What it has left goes back to the payments of the customer, now.",
)


def _is_refund_held(refund: Refund) -> bool:
    return refund.status in REFUND_OPEN and refund.failure_code == FailureCode.OUTCOME_MISMATCH


def _refuse_unless_refund_held(refund: Refund) -> None:
    if not _is_refund_held(refund):
        raise RefundNotHeld(f"It is {refund.status} and waits for nobody.")


def _settle_refund(refund: Refund, by: By) -> None:
    _refuse_unless_refund_held(refund)
    settle_refund(
        refund.id,
        paid=refund.amount,
        provider_ref=None,
        tenant_id=refund.tenant_id,
        actor=by.actor,
        at=customer_now(refund.customer, wall=now()),
    )


def _fail_refund(refund: Refund, by: By) -> None:
    _refuse_unless_refund_held(refund)
    fail_refund(
        refund.id,
        code=FailureCode.OUTCOME_MISMATCH.value,
        message=f"Taken back: {refund.failure_message}",
        tenant_id=refund.tenant_id,
        actor=by.actor,
        at=customer_now(refund.customer, wall=now()),
    )


HELD_REFUNDS: Final = (
    Verb(
        name="settle_refund",
        label="Note as paid back",
        icon="price_check",
        resource="payments",
        run=_settle_refund,
        fits=_is_refund_held,
        warning="The amount that was asked for is booked as paid back. Make sure at the provider"
        " that it is: what differs must be mended there.",
    ),
    Verb(
        name="fail_refund",
        label="Note as not paid back",
        icon="undo",
        resource="payments",
        run=_fail_refund,
        fits=_is_refund_held,
        warning="Nothing is booked, and the customer is owed the money again. Take it back at the"
        " provider first: this does not.",
    ),
)


class DecisionForm(forms.Form):
    """How a dispute ended."""

    reason = reason_field()


def _is_undecided(dispute: Dispute) -> bool:
    return dispute.status == DisputeStatus.OPENED


def _win(dispute: Dispute, by: By) -> None:
    win_dispute(
        dispute.id,
        reason=by.given["reason"],
        tenant_id=dispute.tenant_id,
        actor=by.actor,
        at=customer_now(dispute.customer, wall=now()),
    )


def _lose(dispute: Dispute, by: By) -> None:
    lose_dispute(
        dispute.id,
        reason=by.given["reason"],
        tenant_id=dispute.tenant_id,
        actor=by.actor,
        at=customer_now(dispute.customer, wall=now()),
    )


DISPUTED: Final = (
    Verb(
        name="win",
        label="Note as won",
        icon="price_check",
        resource="payments",
        run=_win,
        fits=_is_undecided,
        form=DecisionForm,
        warning="The money is booked as brought back, and prepaid credit that it had bought is given"
        " back. Make sure that it is there: a dispute is decided once.",
    ),
    Verb(
        name="lose",
        label="Note as lost",
        icon="money_off",
        resource="payments",
        run=_lose,
        fits=_is_undecided,
        form=DecisionForm,
        warning="The money is booked as lost, and prepaid credit that it had bought stays gone. A"
        " dispute is decided once.",
    ),
)


@admin.register(PaymentMethod)
class PaymentMethodDesk(Desk):
    resource = "payments"
    list_display = (
        named("method"),
        link("customer"),
        plain("provider"),
        "is_default",
        instant("created_at", "since"),
        plain("expires"),
        instant("detached_at", "detached"),
    )
    list_filter = ("provider", "is_default")
    search_fields = ("customer__name", "label", "provider_ref")
    related = ("customer",)
    when_empty = "A customer's way to pay: POST /api/v1/customers/{id}/payment-methods."


class AllocationInline(DeskInline):
    model = Allocation
    resource = "payments"
    columns = (link("invoice"), amount("amount"), instant("allocated_at", "allocated"))
    related = ("invoice",)


class RefundInline(DeskInline):
    model = Refund
    resource = "payments"
    columns = (
        itself("id", lambda row: row.public_id),
        status(),
        amount("amount"),
        plain("provider"),
        plain("reason"),
        plain("failure_code", "failure"),
        instant("created_at", "begun"),
        instant("settled_at", "settled"),
    )
    ordering = ("-id",)


class DisputeInline(DeskInline):
    model = Dispute
    resource = "payments"
    columns = (
        itself("id", lambda row: row.public_id),
        status(),
        amount("amount"),
        plain("reference"),
        plain("reason"),
        instant("evidence_due_at", "evidence due"),
        instant("opened_at", "opened"),
        instant("decided_at", "decided"),
    )
    ordering = ("-id",)


@admin.register(Payment)
class PaymentDesk(Desk):
    resource = "payments"
    list_display = (
        ident(),
        link("customer"),
        link("invoice"),
        status(),
        amount("amount"),
        plain("provider"),
        plain("failure_code", "failure"),
        instant("created_at", "begun"),
        instant("settled_at", "settled"),
    )
    list_filter = ("status", "provider", "currency")
    search_fields = ("customer__name", "provider_ref", "reference")
    related = ("customer__test_clock", "customer__tenant__test_clock", "invoice", "method")
    verbs = (PAY_BACK, *HELD)
    inlines = (AllocationInline, RefundInline, DisputeInline)
    when_empty = "Money is asked for when an invoice is issued, or by POST /invoices/{id}/charge."


@admin.register(Refund)
class RefundDesk(Desk):
    resource = "payments"
    list_display = (
        ident(),
        link("customer"),
        link("payment"),
        status(),
        amount("amount"),
        plain("provider"),
        plain("reason"),
        plain("failure_code", "failure"),
        instant("created_at", "begun"),
        instant("settled_at", "settled"),
    )
    list_filter = ("status", "provider", "currency")
    search_fields = ("customer__name", "provider_ref", "reference")
    related = ("customer__test_clock", "customer__tenant__test_clock", "payment")
    detail = (
        ident(),
        status(),
        link("customer"),
        link("payment"),
        amount("amount"),
        amount("from_account", "of it from the customer's account"),
        plain("reason"),
        plain("provider"),
        (plain("provider_ref", "the provider's name of it"), plain("reference")),
        (plain("failure_code", "failure"), plain("failure_message", "in the provider's words")),
        instant("created_at", "begun"),
        instant("settled_at", "settled"),
    )
    verbs = HELD_REFUNDS
    when_empty = "Nothing was paid back: POST /api/v1/payments/{id}/refunds."


@admin.register(Dispute)
class DisputeDesk(Desk):
    resource = "payments"
    list_display = (
        ident(),
        link("customer"),
        link("payment"),
        status(),
        amount("amount"),
        plain("provider"),
        plain("reference"),
        plain("reason"),
        instant("evidence_due_at", "evidence due"),
        instant("opened_at", "opened"),
        instant("decided_at", "decided"),
    )
    list_filter = ("status", "provider", "currency")
    search_fields = ("customer__name", "reference")
    related = ("customer__test_clock", "customer__tenant__test_clock", "payment")
    detail = (
        ident(),
        status(),
        link("customer"),
        link("payment"),
        amount("amount"),
        amount("from_account", "of it from the customer's account"),
        amount("fee", "the provider's fee"),
        plain("reason"),
        (plain("provider"), plain("reference")),
        instant("evidence_due_at", "evidence due"),
        instant("opened_at", "opened"),
        instant("decided_at", "decided"),
        instant("credit_taken_at", "prepaid credit taken back"),
        instant("credit_settled_at", "prepaid credit settled"),
    )
    verbs = DISPUTED
    when_empty = "Nobody disputes a payment: POST /api/v1/payments/{id}/disputes."


@admin.register(Allocation)
class AllocationDesk(Desk):
    resource = "payments"
    list_display = (
        ident(),
        link("payment"),
        link("invoice"),
        amount("amount"),
        instant("allocated_at", "allocated"),
    )
    related = ("payment", "invoice")
    ordering = ("-id",)


@admin.register(Collection)
class CollectionDesk(Desk):
    resource = "payments"
    list_display = (
        ident(),
        link("invoice"),
        plain("attempts"),
        plain("last_failure"),
        instant("next_attempt_at", "next attempt"),
        instant("closed_at", "closed"),
    )
    list_filter = (("next_attempt_at", admin.EmptyFieldListFilter),)
    search_fields = ("invoice__customer__name",)
    related = ("invoice",)
    ordering = ("-id",)
    when_empty = "Nothing is being collected."


@admin.register(SandboxCharge)
class SandboxChargeDesk(Desk):
    resource = "payments"
    list_display = (
        plain("idempotency_key", "charge"),
        plain("behaviour"),
        plain("outcome"),
        amount("amount"),
        plain("calls"),
        plain("asked"),
        instant("created_at", "received"),
    )
    list_filter = ("outcome", "behaviour")
    search_fields = ("=idempotency_key", "=invoice")
    ordering = ("-created_at",)
    when_empty = "The sandbox has not been charged."


@admin.register(SandboxRefund)
class SandboxRefundDesk(Desk):
    resource = "payments"
    list_display = (
        plain("idempotency_key", "refund"),
        plain("charge"),
        plain("behaviour"),
        plain("outcome"),
        amount("amount"),
        plain("calls"),
        plain("asked"),
        instant("created_at", "received"),
    )
    list_filter = ("outcome", "behaviour")
    search_fields = ("=idempotency_key", "=charge")
    ordering = ("-created_at",)
    when_empty = "The sandbox has paid nothing back."


class PaymentInline(DeskInline):
    model = Payment
    resource = "payments"
    columns = (
        itself("id", lambda row: row.public_id),
        status(),
        amount("amount"),
        plain("provider"),
        plain("failure_code", "failure"),
        instant("created_at", "begun"),
        instant("settled_at", "settled"),
    )
    ordering = ("-id",)


class PaymentMethodInline(DeskInline):
    model = PaymentMethod
    resource = "payments"
    columns = (
        itself("method"),
        plain("provider"),
        plain("is_default", "default"),
        instant("created_at", "since"),
        instant("detached_at", "detached"),
    )
    ordering = ("-id",)


offer(Customer, inlines=(PaymentMethodInline,))
offer(Invoice, inlines=(PaymentInline,), verbs=(COLLECT, PAY_MEMO_BACK))
