"""A price that depends on the local time at which an event happened. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from apps.rating.documents import Fields
from apps.rating.periods import ZoneUnknown, zone_info
from apps.rating.pricing.measured import DEFAULT_BAND, Measured, Step, usage_step

_MINUTES_PER_HOUR: Final = 60
_MINUTES_PER_DAY: Final = 1440
_BEGIN: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_END: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")


@dataclass(frozen=True, slots=True)
class Band:
    """The local times from ``begin``, included, to ``end``, excluded, in minutes since midnight.

    One whose end is not after its beginning passes midnight.
    """

    begin: int
    end: int
    unit_price: Decimal

    def contains(self, minute: int) -> bool:
        """Tell whether a minute of the day lies in the band."""
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """Bands of the day with their unit prices, and a price for all other times.

    The default is None only where the bands cover the whole day.
    """

    zone: str
    bands: tuple[Band, ...]
    default_unit_price: Decimal | None = None


def band_of(model: TimeOfDay, at: datetime) -> int:
    """Return the index of the band in which an instant lies, or ``DEFAULT_BAND``.

    The hour that is shown twice in autumn has the same price both times.
    """
    local = at.astimezone(zone_info(model.zone))
    minute = local.hour * _MINUTES_PER_HOUR + local.minute
    for index, band in enumerate(model.bands):
        if band.contains(minute):
            return index
    return DEFAULT_BAND


def read_time_of_day(fields: Fields, _currency: str) -> TimeOfDay:
    """Read ``{"zone", "bands": [{"from", "to", "unit_price"}], "default_unit_price"}``."""
    zone = fields.text("zone")
    if zone:
        try:
            zone_info(zone)
        except ZoneUnknown as error:
            fields.note("zone", error.reason, error.detail)
    bands: list[Band] = []
    taken: dict[int, int] = {}
    complete = True
    for index, row in enumerate(fields.rows("bands")):
        begin, end = _read_clock(row, "from", _BEGIN), _read_clock(row, "to", _END)
        band = Band(begin or 0, end or 0, row.price("unit_price"))
        if begin is None or end is None:
            complete = False
        elif begin == end:
            row.note("to", "band_empty", "a band ends after it begins, perhaps on the next day")
            complete = False
        else:
            minutes = [minute for minute in range(_MINUTES_PER_DAY) if band.contains(minute)]
            clash = next((taken[minute] for minute in minutes if minute in taken), None)
            if clash is not None:
                row.note("from", "band_overlap", f"the band overlaps bands[{clash}]")
            taken.update((minute, index) for minute in minutes if minute not in taken)
        bands.append(band)
        row.close()
    default = fields.optional_price("default_unit_price")
    has_gap = complete and bool(bands) and len(taken) < _MINUTES_PER_DAY
    if has_gap and not fields.has("default_unit_price"):
        fields.note("default_unit_price", "required", "the bands leave some of the day unpriced")
    return TimeOfDay(zone, tuple(bands), default)


def _read_clock(row: Fields, key: str, form: re.Pattern[str]) -> int | None:
    given = row.text(key)
    if not given:
        return None
    if not form.fullmatch(given):
        row.note(key, "time_format", "a time is written from 00:00 to 23:59; 24:00 may end a band")
        return None
    return int(given[:2]) * _MINUTES_PER_HOUR + int(given[3:])


def time_of_day_document(model: TimeOfDay) -> dict[str, object]:
    """Return the JSON form of the model."""
    default = model.default_unit_price
    return {
        "model": "time_of_day",
        "zone": model.zone,
        "bands": [
            {
                "from": _clock(band.begin),
                "to": _clock(band.end),
                "unit_price": f"{band.unit_price:f}",
            }
            for band in model.bands
        ],
        "default_unit_price": None if default is None else f"{default:f}",
    }


def time_of_day_steps(model: TimeOfDay, measured: Measured) -> list[Step]:
    """Price the usage of each band; a band below zero costs nothing."""
    quantities: dict[int, Decimal] = {}
    for index, quantity in measured.bands:
        quantities[index] = quantities.get(index, Decimal(0)) + quantity
    steps = []
    for index, band in enumerate(model.bands):
        if quantities.get(index, 0) > 0:
            label = f"{_clock(band.begin)} to {_clock(band.end)}"
            steps.append(usage_step(label, quantities[index], band.unit_price))
    if quantities.get(DEFAULT_BAND, 0) > 0 and model.default_unit_price is not None:
        steps.append(usage_step("Other times", quantities[DEFAULT_BAND], model.default_unit_price))
    return steps


def _clock(minute: int) -> str:
    return f"{minute // _MINUTES_PER_HOUR:02}:{minute % _MINUTES_PER_HOUR:02}"
