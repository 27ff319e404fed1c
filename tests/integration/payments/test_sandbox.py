"""The sandbox behaves as its methods are called, keeps its own truth, and takes nothing twice."""

from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import transaction
from moneyed import Money

from apps.core.ids import encode, new_id
from apps.core.tenancy import enter_tenant
from apps.payments.domain import FailureCode, MethodReferenceInvalid, ProviderUnknown
from apps.payments.models import SandboxCharge
from apps.payments.providers import PROVIDERS, provider_named
from apps.payments.providers.external import External
from apps.payments.providers.interface import ChargeRequest, Outcome, OutcomeStatus, Provider
from apps.payments.providers.sandbox import Sandbox
from apps.tenants.domain import Mode

pytestmark = pytest.mark.django_db

SANDBOX: Provider = Sandbox()
TENANT = new_id()
S, F, P, U = (
    OutcomeStatus.SUCCEEDED,
    OutcomeStatus.FAILED,
    OutcomeStatus.PENDING,
    OutcomeStatus.UNKNOWN,
)


@pytest.fixture(autouse=True)
def _in_scope(_nobodys_scope: None) -> None:
    enter_tenant(TENANT)


def request(
    ref: str, *, key: str | None = None, invoice: str = "", amount: str = "149.00"
) -> ChargeRequest:
    return ChargeRequest(
        amount=Money(Decimal(amount), "USD"),
        idempotency_key=key or encode("pay", new_id()),
        method_ref=ref,
        customer_ref="",
        description="Invoice INV-000001",
        metadata={
            "tenant": encode("ten", TENANT),
            "invoice": invoice or encode("inv", new_id()),
        },
    )


@pytest.mark.parametrize(
    ("ref", "answer", "code", "asked", "truth"),
    [
        ("sandbox_ok", S, None, [S, S], "149.00"),
        ("sandbox_declined", F, "card_declined", [F, F], None),
        ("sandbox_declined_once", F, "card_declined", [F, F], None),
        ("sandbox_insufficient_funds", F, "insufficient_funds", [F], None),
        ("sandbox_expired", F, "payment_method_expired", [F], None),
        ("sandbox_authentication", F, "authentication_required", [F], None),
        ("sandbox_unreachable", F, "provider_unreachable", [None], None),
        ("sandbox_timeout", U, "timed_out", [S, S], "149.00"),
        ("sandbox_timeout_lost", U, "timed_out", [None, None], None),
        ("sandbox_duplicate", U, "duplicate_request", [S], "149.00"),
        ("sandbox_delayed", P, None, [P, S, S], "149.00"),
        ("sandbox_delayed_failure", P, None, [P, F, F], None),
        ("sandbox_wrong_amount", S, None, [S], "148.99"),
    ],
)
def test_each_method_behaves_as_it_is_called(
    ref: str,
    answer: OutcomeStatus,
    code: str | None,
    asked: list[OutcomeStatus | None],
    truth: str | None,
) -> None:
    SANDBOX.check_method(ref)
    charge = request(ref)

    outcome = SANDBOX.charge(charge)

    assert (outcome.status, outcome.failure_code) == (answer, code and FailureCode(code))
    found = [SANDBOX.find(charge.idempotency_key) for _ in asked]
    assert [one.status if one else None for one in found] == asked
    took = next((one.amount for one in found if one and one.status == S), None)
    assert took == (Money(Decimal(truth), "USD") if truth else None)


def test_one_key_is_one_charge_whatever_is_sent_with_it() -> None:
    first = request("sandbox_ok")

    answers = [SANDBOX.charge(first) for _ in range(3)]
    other = SANDBOX.charge(request("sandbox_declined", key=first.idempotency_key, amount="1.00"))

    assert (
        answers
        == [
            Outcome(
                S,
                amount=Money(Decimal("149.00"), "USD"),
                provider_ref=f"sbx_{first.idempotency_key}",
            )
        ]
        * 3
    )
    assert other == answers[0]
    charge = SandboxCharge.objects.get(idempotency_key=first.idempotency_key)
    assert (charge.calls, charge.amount, charge.outcome) == (4, Decimal(149), "succeeded")


def test_declined_once_succeeds_on_the_next_try_of_the_same_invoice() -> None:
    invoice = encode("inv", new_id())
    first = request("sandbox_declined_once", invoice=invoice)

    assert SANDBOX.charge(first).status == F
    assert SANDBOX.charge(first).status == F  # the same charge
    assert SANDBOX.charge(request("sandbox_declined_once", invoice=invoice)).status == S
    assert SANDBOX.charge(request("sandbox_declined_once")).status == F  # another invoice


def test_what_it_took_stays_taken_when_the_caller_rolls_back() -> None:
    charge = request("sandbox_ok")
    with transaction.atomic():
        SANDBOX.charge(charge)
        transaction.set_rollback(True)

    outcome = SANDBOX.find(charge.idempotency_key)

    assert outcome is not None
    assert outcome.status == S


def test_small_units_of_other_currencies() -> None:
    charge = replace(request("sandbox_wrong_amount"), amount=Money(Decimal(500), "JPY"))

    assert SANDBOX.charge(charge).amount == Money(Decimal(499), "JPY")


def test_unknown_methods_and_providers_are_refused() -> None:
    with pytest.raises(MethodReferenceInvalid):
        SANDBOX.check_method("pm_card_visa")
    with pytest.raises(ProviderUnknown):
        provider_named("stripe")


def test_who_may_use_what() -> None:
    assert {name: (p.modes, p.collects) for name, p in PROVIDERS.items()} == {
        "external": (frozenset({Mode.LIVE, Mode.TEST}), False),
        "sandbox": (frozenset({Mode.TEST}), True),
    }


def test_external_money_is_never_charged_nor_asked_about() -> None:
    with pytest.raises(RuntimeError):
        External().charge(request("anything"))
    with pytest.raises(RuntimeError):
        External().find("anything")
