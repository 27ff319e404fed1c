"""Bar charts: shapes that fit their drawing, and lines at round values."""

from decimal import Decimal

import pytest

from apps.tenants.desk.charts import HEIGHT, WIDTH, Bar, bar_chart


def bars(*values: str) -> list[Bar]:
    return [Bar(label="", value=Decimal(value), text="", href="") for value in values]


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        (["0", "0"], ["1", "0"]),
        (["3", "4"], ["4", "3", "2", "1", "0"]),
        (["950", "1200"], ["1.5k", "1k", "500", "0"]),
        (["10000000"], ["10M", "7.5M", "5M", "2.5M", "0"]),
        (["30", "-10"], ["30", "20", "10", "0", "-10"]),
        (["-5"], ["0", "-2", "-4", "-6"]),
    ],
)
def test_lines_stand_at_round_values(values: list[str], lines: list[str]) -> None:
    assert [line.text for line in bar_chart(bars(*values)).lines] == lines


@pytest.mark.parametrize("values", [["1"], ["0.01", "99999999"], ["-3", "5", "0"], ["7"] * 12])
def test_every_shape_lies_in_the_drawing(values: list[str]) -> None:
    for shape in bar_chart(bars(*values)).shapes:
        assert shape.x >= 0
        assert shape.x + shape.width <= WIDTH
        assert shape.y >= 0
        assert shape.y + shape.height <= HEIGHT


def test_heights_are_in_proportion_and_negative_bars_hang() -> None:
    one, two, less = bar_chart(bars("100", "200", "-100")).shapes
    assert two.height == 2 * one.height
    assert less.height == one.height
    assert less.y == bar_chart(bars("100", "200", "-100")).axis


def test_no_bars_make_an_empty_chart() -> None:
    assert bar_chart([]).shapes == ()
