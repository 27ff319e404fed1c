"""Providers are asked for disputes, and what they tell is taken once, in whatever order."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from moneyed import Money

from apps.core.ids import encode
from apps.core.tenancy import tenant_scope
from apps.payments.domain import DisputeStatus
from apps.payments.models import Dispute, Payment
from apps.payments.operations.dispute_asking import apply_dispute_news, ask_disputes
from apps.payments.providers.external import External
from apps.payments.providers.interface import DisputeNews
from apps.payments.providers.sandbox import Sandbox
from apps.tenants.domain import Mode
from tests.make.backoffice import all_breaches
from tests.make.payments import usd
from tests.make.refunds import make_paid_invoice, pay_back
from tests.make.tenants import ACTOR, AT, make_tenant

pytestmark = pytest.mark.django_db
LATER = AT + timedelta(minutes=10)


def cases(payment: Payment) -> list[tuple[str, Money]]:
    with tenant_scope(payment.tenant_id):
        return [(one.status, one.amount) for one in Dispute.objects.filter(payment=payment)]


@pytest.mark.holds("Y9")
@pytest.mark.parametrize(
    ("method", "end"),
    [
        ("sandbox_disputed", "opened"),
        ("sandbox_disputed_won", "won"),
        ("sandbox_disputed_lost", "lost"),
    ],
)
def test_what_the_sandbox_tells_is_taken_once(method: str, end: str) -> None:
    _, payment = make_paid_invoice(method)

    assert ask_disputes(AT) == 1
    assert cases(payment) == [("opened", usd("149.00"))]
    for _ in range(3):
        ask_disputes(LATER)

    assert cases(payment) == [(end, usd("149.00"))]
    assert all_breaches() == []


@pytest.mark.holds("F58")
def test_only_what_was_not_given_back_is_disputed() -> None:
    _, payment = make_paid_invoice("sandbox_disputed")
    _, whole = make_paid_invoice("sandbox_disputed")
    pay_back(payment, "49.00")
    pay_back(whole)

    ask_disputes(AT)

    assert cases(payment) == [("opened", usd("100.00"))]
    assert cases(whole) == []
    assert all_breaches() == []


def test_payments_that_nobody_disputes_and_other_tenants_are_left_alone() -> None:
    invoice, payment = make_paid_invoice("sandbox_ok")
    other = make_tenant(mode=Mode.TEST)
    _, theirs = make_paid_invoice("sandbox_disputed", tenant=other)

    assert ask_disputes(AT, tenant_id=invoice.tenant_id) == 0

    assert (cases(payment), cases(theirs)) == ([], [])


def news(payment: Payment, status: DisputeStatus) -> DisputeNews:
    return DisputeNews(payment.idempotency_key, "dp_1", status, usd("100.00"), fee=usd("15.00"))


@pytest.mark.holds("Y6", "Y9")
@pytest.mark.parametrize("order", ["ow", "wo", "wl", "wow", "owl"])
def test_news_in_any_order_ends_in_the_first_decision(order: str) -> None:
    _, payment = make_paid_invoice()
    said = {"o": DisputeStatus.OPENED, "w": DisputeStatus.WON, "l": DisputeStatus.LOST}

    with tenant_scope(payment.tenant_id):
        for one in order:
            apply_dispute_news(news(payment, said[one]), payment, actor=ACTOR, at=AT)

    assert cases(payment) == [("won", usd("100.00"))]
    assert all_breaches() == []


@pytest.mark.holds("F58")
def test_news_that_cannot_be_taken_is_told_again_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    invoice, payment = make_paid_invoice()
    _, other = make_paid_invoice(tenant=invoice.tenant)
    much = replace(news(payment, DisputeStatus.OPENED), amount=usd("149.01"))
    told = [much, replace(news(other, DisputeStatus.OPENED), reference="dp_2")]
    monkeypatch.setattr(Sandbox, "find_disputes", lambda _self, _tenant: told)

    assert ask_disputes(AT) == 1

    assert (cases(payment), len(cases(other))) == ([], 1)
    assert "the dispute dp_1" in caplog.text
    told[0] = news(payment, DisputeStatus.OPENED)
    assert ask_disputes(LATER) == 2
    assert len(cases(payment)) == 1
    assert all_breaches() == []


def test_a_provider_that_breaks_for_one_tenant_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    payments = [
        make_paid_invoice("sandbox_disputed", tenant=make_tenant(mode=Mode.TEST))[1]
        for _ in range(2)
    ]
    first = encode("ten", min(one.tenant_id for one in payments))
    asked = Sandbox.find_disputes

    def break_for_the_first(self: Sandbox, tenant: str) -> Sequence[DisputeNews]:
        if tenant == first:
            raise OSError("the line is dead")
        return asked(self, tenant)

    monkeypatch.setattr(Sandbox, "find_disputes", break_for_the_first)

    assert ask_disputes(AT) == 1
    assert "asking sandbox for disputes failed" in caplog.text
    monkeypatch.undo()
    ask_disputes(LATER)
    assert [len(cases(one)) for one in payments] == [1, 1]


def test_nobody_is_asked_about_external_money() -> None:
    with pytest.raises(RuntimeError, match="nobody can be asked"):
        External().find_disputes(encode("ten", make_paid_invoice()[0].tenant_id))
