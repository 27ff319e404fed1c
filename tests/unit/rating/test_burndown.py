"""The order in which credit is used up."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.rating.burndown import Because, Credit, burn, rank
from apps.wallets.domain import value_left

AT = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def credit(number: int, left: str = "1", **values: object) -> Credit:
    return Credit(
        **{
            "id": UUID(int=number),
            "left": Decimal(left),
            "priority": 50,
            "expires_at": None,
            "promotional": False,
            "since": AT,
            **values,
        }  # type: ignore[arg-type]  # as given
    )


@pytest.mark.holds("W3")
def test_each_criterion_decides_where_those_before_it_are_equal() -> None:
    order = [
        credit(9, priority=1),
        credit(8, expires_at=AT + DAY),
        credit(7, expires_at=AT + 2 * DAY),
        credit(6, promotional=True),
        credit(5, since=AT - DAY),
        credit(3),
        credit(4),
    ]
    for shuffled in list(permutations(order))[::97]:
        burned = burn(Decimal(7), shuffled)
        assert [part.credit_id for part in burned.parts] == [one.id for one in order]
    assert [part.because for part in burn(Decimal(7), order).parts] == [
        Because.PRIORITY,
        Because.EXPIRY,
        Because.EXPIRY,
        Because.PROMOTIONAL,
        Because.AGE,
        Because.ID,
        Because.ID,
    ]


def test_each_part_tells_its_place_among_all_that_could_pay() -> None:
    burned = burn(Decimal("1.5"), [credit(3), credit(1), credit(2)])
    assert [(part.place, part.of) for part in burned.parts] == [(1, 3), (2, 3)]


def test_what_nobody_pays_is_short() -> None:
    burned = burn(Decimal("2.5"), [credit(1), credit(2)])
    assert [part.amount for part in burned.parts] == [Decimal(1), Decimal(1)]
    assert burned.short == Decimal("0.5")
    assert burn(Decimal(1), [credit(1, "3")]).parts[0].because is Because.ONLY
    assert burn(Decimal(1), []).short == 1


amounts = st.decimals("0.000000000001", "1000000", places=12)


@given(amounts, st.lists(st.tuples(amounts, st.integers(1, 3), st.booleans()), max_size=8))
def test_parts_and_shortage_add_up(amount: Decimal, drawn: list[tuple[Decimal, int, bool]]) -> None:
    credits_ = [
        credit(number, str(left), priority=priority, promotional=promotional)
        for number, (left, priority, promotional) in enumerate(drawn)
    ]
    burned = burn(amount, credits_)
    assert sum((part.amount for part in burned.parts), burned.short) == amount
    by_id = {one.id: one for one in credits_}
    used = [by_id[part.credit_id] for part in burned.parts]
    assert used == sorted(credits_, key=rank)[: len(used)]
    assert all(part.amount == by_id[part.credit_id].left for part in burned.parts[:-1])


@given(amounts, amounts, st.lists(st.decimals(0, 1, places=6), max_size=6))
def test_the_steps_of_a_value_add_up(
    value: Decimal, amount: Decimal, shares: list[Decimal]
) -> None:
    points = [amount, *sorted((amount * one for one in shares), reverse=True), Decimal(0)]
    left = [value_left(value, amount, point) for point in points]
    assert (left[0], left[-1]) == (value, Decimal(0))
    assert left == sorted(left, reverse=True)
