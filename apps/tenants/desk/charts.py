"""Bar charts as shapes on a drawing: pure arithmetic; a template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 12, 28
_LINES: Final = 4
_STEPS: Final = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(frozen=True, slots=True)
class Bar:
    """A column of the chart; ``value`` below zero hangs from the axis. "" as ``href`` leads nowhere."""

    label: str
    value: Decimal
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A bar as drawn, in units of the drawing."""

    bar: Bar
    x: Decimal
    y: Decimal
    width: Decimal
    height: Decimal
    middle: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """A horizontal line with the value it stands for."""

    y: Decimal
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything a template needs to draw."""

    width: int
    height: int
    left: int
    right: int
    shapes: tuple[Shape, ...]
    lines: tuple[Line, ...]
    axis: Decimal


@dataclass(frozen=True, slots=True)
class NamedChart:
    """A chart, what it shows, and the figure that it comes to."""

    title: str
    total: str
    drawing: Chart


def bar_chart(bars: Sequence[Bar]) -> Chart:
    """Lay out the bars, with at most a handful of round values beside them."""
    values = [Decimal(0), *(bar.value for bar in bars)]
    step = round_step(max(values) - min(values))
    top = (max(values) / step).to_integral_value(ROUND_CEILING) * step
    bottom = (min(values) / step).to_integral_value(ROUND_FLOOR) * step
    if top == bottom:
        top = step
    scale = Decimal(HEIGHT - _TOP - _BOTTOM) / (top - bottom)
    slot = Decimal(WIDTH - _LEFT - _RIGHT) / max(len(bars), 1)
    axis = _TOP + top * scale
    shapes = []
    for index, bar in enumerate(bars):
        height = abs(bar.value) * scale
        x = _LEFT + slot * index + slot / 6
        y = axis - height if bar.value > 0 else axis
        middle = x + slot / 3
        shapes.append(
            Shape(bar, _near(x), _near(y), _near(slot * 2 / 3), _near(height), _near(middle))
        )
    count = int((top - bottom) / step)
    lines = tuple(
        Line(_near(_TOP + scale * step * index), short_text(top - step * index))
        for index in range(count + 1)
    )
    return Chart(WIDTH, HEIGHT, _LEFT, WIDTH - _RIGHT, tuple(shapes), lines, _near(axis))


def round_step(span: Decimal, parts: int = _LINES) -> Decimal:
    """Return a step of 1, 2, 2.5 or 5 times a power of ten that divides the span a few times.

    At most into ``parts``; 1 for no span.
    """
    if not span:
        return Decimal(1)
    power = Decimal(1).scaleb((span / parts).adjusted())
    return next(power * step for step in _STEPS if power * step * parts >= span)


def _near(number: Decimal) -> Decimal:
    return number.quantize(Decimal("0.1"))


def short_text(value: Decimal) -> str:
    """Return a value such as 1,500 as ``1.5k``."""
    for size, letter in ((Decimal(10**9), "G"), (Decimal(10**6), "M"), (Decimal(10**3), "k")):
        if abs(value) >= size:
            return f"{(value / size).normalize():f}{letter}"
    return f"{value.normalize():f}"
