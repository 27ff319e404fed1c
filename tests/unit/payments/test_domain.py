"""The timetables of asking and trying again, and how a receipt is split."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from apps.core.errors import PaymentDeclined
from apps.payments.domain import (
    IN_FLIGHT,
    PAYMENT_TRANSITIONS,
    REFUSALS,
    FailureCode,
    PaymentStatus,
    is_lost,
    next_attempt,
    next_question,
    split_receipt,
)

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("received", "still_open", "allocated", "left"),
    [
        ("149", "149", "149", "0"),
        ("100", "149", "100", "0"),
        ("150", "149", "149", "1"),
        ("149", "0", "0", "149"),
        ("149", "-1", "0", "149"),
    ],
)
def test_a_receipt_pays_what_is_open_and_loses_nothing(
    received: str, still_open: str, allocated: str, left: str
) -> None:
    assert split_receipt(Decimal(received), Decimal(still_open)) == (
        Decimal(allocated),
        Decimal(left),
    )


def test_an_open_outcome_is_asked_for_after_minutes_then_an_hour_then_daily() -> None:
    waits = [next_question(asked, AT) - AT for asked in range(5)]

    assert waits == [timedelta(minutes=5), timedelta(hours=1), DAY, DAY, DAY]


def test_a_charge_is_lost_an_hour_after_it_was_sent() -> None:
    assert not is_lost(AT, AT + timedelta(minutes=59, seconds=59))
    assert is_lost(AT, AT + timedelta(hours=1))


def test_the_timetable_counts_days_from_the_first_failure() -> None:
    assert [next_attempt(AT, attempts, [1, 3, 7]) for attempts in (1, 2, 3, 4)] == [
        AT + 1 * DAY,
        AT + 3 * DAY,
        AT + 7 * DAY,
        None,
    ]
    assert next_attempt(AT, 1, []) is None


def test_statuses_all_have_their_transitions() -> None:
    assert set(PAYMENT_TRANSITIONS) == set(PaymentStatus)
    assert {s for s in PaymentStatus if not PAYMENT_TRANSITIONS[s]} == {
        PaymentStatus.SUCCEEDED,
        PaymentStatus.CANCELED,
    }
    # a late success is real money, and the only way out of failure
    assert PAYMENT_TRANSITIONS[PaymentStatus.FAILED] == {PaymentStatus.SUCCEEDED}
    assert PaymentStatus.UNKNOWN in IN_FLIGHT


def test_refusals_are_told_by_their_code() -> None:
    assert set(REFUSALS) == {
        "card_declined",
        "insufficient_funds",
        "payment_method_expired",
        "authentication_required",
        "provider_unreachable",
        "refund_refused",
    }
    assert all(issubclass(error, PaymentDeclined) for error in REFUSALS.values())
    assert set(REFUSALS) <= {code.value for code in FailureCode}
