"""The arithmetic that judges the product, held to the worked examples of the documentation."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest

from apps.backoffice.simulation.facts import (
    AmendmentFact,
    CouponFact,
    EventFact,
    Facts,
    LevyFact,
    PlaceFact,
    RedemptionFact,
    SubscriptionFact,
)
from apps.backoffice.simulation.oracle.levies import Levying, Paper, PaperLine
from apps.backoffice.simulation.oracle.rebates import Owed, take_off

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MONTH = {"unit": "month", "count": 1}


def subscribed() -> SubscriptionFact:
    return SubscriptionFact(
        id=UUID(int=1),
        customer=UUID(int=2),
        tenant=UUID(int=3),
        plan={},
        currency="USD",
        zone="UTC",
        started_at=APRIL,
        calendar_aligned=False,
        anchor_day=None,
        quantity=1,
        price_list=None,
        trial_days=None,
        term_months=None,
        auto_renew=False,
        basis="second",
    )


def coupon(told: str) -> CouponFact:
    if told.endswith("%"):
        return CouponFact(told, percentage=Decimal(told[:-1]))
    return CouponFact(told, amounts={"USD": Decimal(told)})


def owed(amount: str, fact: SubscriptionFact, begins: datetime = APRIL) -> Owed:
    return Owed(fact, "base", begins, begins, Fraction(amount), 2, {})


@pytest.mark.parametrize(
    ("coupons", "charges", "left"),
    [
        ("10%", "49.00 30.05", "44.10 27.04"),
        ("20.00", "49.00 30.00", "36.59 22.41"),
        ("10% 20.00", "49.00 30.00", "32.93 20.17"),
        ("10% 50%", "100.00", "45.00"),
        ("100.00", "49.00 30.00", "0.00 0.00"),
        ("100% 20.00", "49.00 0.00", "0.00 0.00"),
        ("10.00 15.00", "20.00", "0.00"),
    ],
)
def test_coupons_leave_what_is_documented(coupons: str, charges: str, left: str) -> None:
    fact = subscribed()
    redeemed = [
        RedemptionFact(UUID(int=place), str(place), coupon(told), fact.id, APRIL, MONTH)
        for place, told in enumerate(coupons.split())
    ]
    pieces = [owed(amount, fact) for amount in charges.split()]
    take_off(pieces, redeemed)
    assert [f"{float(one.left):.2f}" for one in pieces] == left.split()


def test_a_coupon_for_two_periods_leaves_the_third_alone() -> None:
    fact = subscribed()
    twice = CouponFact("twice", percentage=Decimal(50), periods=2)
    pieces = [owed("10.00", fact, datetime(2026, month, 1, tzinfo=UTC)) for month in (4, 5, 6)]
    take_off(pieces, [RedemptionFact(UUID(int=9), "r", twice, fact.id, APRIL, MONTH)])
    assert [one.left for one in pieces] == [5, 5, 10]


@pytest.mark.parametrize(
    ("rate", "places", "billed", "taxes"),
    [
        ("19", 2, "100.00", "19.00"),
        ("19", 2, "0.50 -0.05 -0.03 0.01 -0.43", "0.10 -0.01 -0.01 0.00 -0.08"),
        ("19", 2, "100.00 -33.33 -33.33 -33.34", "19.00 -6.33 -6.34 -6.33"),
        ("8.875", 2, "49.00 -49.00", "4.35 -4.35"),
        ("10", 0, "105 -52 -53", "11 -6 -5"),
    ],
)
def test_corrections_have_the_documented_tax(
    rate: str, places: int, billed: str, taxes: str
) -> None:
    first = UUID(int=0)
    papers = [
        Paper(
            id=UUID(int=100 + number),
            name=f"document {number}",
            places=places,
            issued_at=APRIL + timedelta(days=number),
            number=number,
            canceled_at=None,
            tax=Fraction(tax),
            lines=[
                PaperLine(
                    UUID(int=number), first if number else None, APRIL, APRIL, Fraction(amount)
                )
            ],
        )
        for number, (amount, tax) in enumerate(zip(billed.split(), taxes.split(), strict=True))
    ]
    levies = [LevyFact("vat", "vat", Decimal(rate), "DE")]
    assert list(Levying(levies, PlaceFact("DE"), per_line=False).differences(papers)) == []


def test_what_is_undone_counts_again_and_what_it_brought_in_does_not() -> None:
    facts = Facts(APRIL)
    facts.events = [
        EventFact(number, UUID(int=2), None, "call", APRIL, APRIL, Decimal(1), {})
        for number in range(3)
    ]
    replaced = AmendmentFact(UUID(int=5), APRIL, taken=frozenset({0}), brought=frozenset({2}))
    undone = AmendmentFact(UUID(int=6), APRIL, undoes=replaced)
    again = AmendmentFact(UUID(int=7), APRIL, undoes=undone)

    def counting(*amendments: AmendmentFact) -> list[int]:
        facts.amendments = list(amendments)
        return [one.number for one in facts.counting()]

    assert counting() == [0, 1, 2]
    assert counting(replaced) == [1, 2]
    assert counting(replaced, undone) == [0, 1]
    assert counting(replaced, undone, again) == [1, 2]
