"""Meters and plans at random: every pricing model, billing period, bound and phase. Pure."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import MeterFact

DECIMALS: Final = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
PRICE_LIST: Final = "partner"
REGIONS: Final = ("eu", "us", "ap")
SIZES: Final = ("s", "l")
_PERIODS: Final = (
    *[("month", 1)] * 8,
    *[("month", 3)] * 2,
    ("month", 2),
    ("month", 6),
    ("year", 1),
    ("week", 1),
    ("week", 2),
    ("day", 10),
)
_DAYS_A_WEEK: Final = 7
_LEVELS: Final = {"sum", "latest", "weighted_sum"}
_WHOLE: Final = {"count", "unique_count"}

METERS: Final = (
    MeterFact("calls", "call", "count"),
    MeterFact("units", "call", "sum"),
    MeterFact("largest", "call", "max"),
    MeterFact("smallest", "call", "min"),
    MeterFact("typical", "call", "average", rounding="half_up", rounding_places=1),
    MeterFact("median", "call", "percentile", percentile=Decimal(50)),
    MeterFact("users", "call", "unique_count", value_property="user"),
    MeterFact("by_place", "call", "sum", group_by=("region", "size")),
    MeterFact(
        "european",
        "call",
        "sum",
        filters=({"property": "region", "op": "in", "value": ["eu"]},),
        rounding="up",
    ),
    MeterFact(
        "heavy",
        "call",
        "sum",
        value_property="weight",
        filters=({"property": "weight", "op": "gte", "value": "5"},),
    ),
    MeterFact("load", "load", "weighted_sum"),
    MeterFact("newest", "load", "latest"),
    MeterFact("seats", "seat", "weighted_sum", recurring=True),
    MeterFact("stock", "seat", "sum", recurring=True),
    MeterFact("plan_size", "seat", "latest", recurring=True, rounding="down"),
    MeterFact("renders", "render", "sum", late=True),
)

Pricing = dict[str, Any]
_Maker = Callable[["Pricer"], Pricing]


class Pricer:
    """Prices in one currency for what one meter measures (None: a subscription's quantity)."""

    def __init__(self, dice: Dice, currency: str, meter: MeterFact | None) -> None:
        self.dice, self.currency, self.meter = dice, currency, meter

    def pricing(self, model: str) -> Pricing:
        """Return a price of the model, as an operator would write it."""
        return {"model": model, **_MAKERS[model](self)}

    def flat(self, most: int = 90) -> str:
        """Return an amount that can be paid as it is."""
        places = DECIMALS[self.currency]
        units = self.dice.randrange(1, most * 10**places)
        return f"{Decimal(units).scaleb(-places):f}"

    def fine(self) -> str:
        """Return a price with as many decimals as prices may have."""
        places = self.dice.choice((0, 2, 3, 5, 12))
        return f"{Decimal(self.dice.randrange(1, 3 * 10**places + 1)).scaleb(-places):f}"

    def bounds(self, count: int) -> list[str | None]:
        """Return the upper bounds of tiers, the last one open."""
        whole = self.meter is not None and self.meter.aggregation in _WHOLE
        steps = [
            Decimal(self.dice.randrange(1, 60)) / (1 if whole else self.dice.choice((1, 2, 4)))
            for _ in range(count - 1)
        ]
        totals = [f"{sum(steps[: number + 1]):f}" for number in range(count - 1)]
        return [*totals, None]

    def tiers(self, unit: str) -> list[Pricing]:
        """Return tiers with a unit price, or a rate, and flat fees."""
        return [
            {
                "up_to": bound,
                unit: self.fine() if unit == "unit_price" else self.rate(),
                "flat_fee": self.flat(9) if self.dice.often(50) else "0",
            }
            for bound in self.bounds(self.dice.randrange(1, 5))
        ]

    def stairs(self) -> list[Pricing]:
        """Return tiers that have one price."""
        return [
            {"up_to": bound, "price": self.flat(40)} for bound in self.bounds(self.chance(1, 4))
        ]

    def rate(self) -> str:
        """Return a percentage."""
        return f"{Decimal(self.dice.randrange(0, 5_000_000)).scaleb(-6):f}"

    def chance(self, least: int, most: int) -> int:
        """Return a whole number, both ends included."""
        return self.dice.randint(least, most)

    def size(self) -> str:
        """Return a quantity above zero."""
        return f"{Decimal(self.dice.randrange(1, 160)) / 4:f}"


def _graduated(make: Pricer) -> Pricing:
    return {"tiers": make.tiers("unit_price"), "first_flat_fee_at_zero": make.chance(0, 1) == 1}


def _graduated_percentage(make: Pricer) -> Pricing:
    return {"tiers": make.tiers("rate"), "first_flat_fee_at_zero": make.chance(0, 1) == 1}


def _package(make: Pricer) -> Pricing:
    return {
        "size": make.size(),
        "price": make.fine(),
        "free_units": make.size() if make.chance(0, 1) else "0",
        "minimum_one": make.chance(0, 2) == 0,
    }


def _blocks(make: Pricer) -> Pricing:
    count = make.chance(1, 3)
    return {
        "policy": make.dice.choice(("all_tiers", "top_tier")),
        "tiers": [
            {
                "block_size": make.size(),
                "max_blocks": make.chance(1, 5) if number < count - 1 else None,
                "block_price": make.fine(),
            }
            for number in range(count)
        ],
    }


def _percentage(make: Pricer) -> Pricing:
    price: Pricing = {"rate": make.rate()}
    if make.meter is not None and make.meter.aggregation == "sum" and not make.meter.recurring:
        low = make.chance(1, 4)
        price |= {
            "fixed_fee": make.fine(),
            "free_count": make.chance(0, 3),
            "minimum": f"0.{low}",
            "maximum": f"{low + make.chance(1, 3)}",
        }
    if make.chance(0, 1):
        price["free_amount"] = make.size()
    return price


def _matrix(make: Pricer) -> Pricing:
    prices = [
        {"values": [region, size], "unit_price": make.fine()}
        for region in (*REGIONS[:2], None)
        for size in SIZES
    ]
    default = make.fine() if make.chance(0, 1) else None
    return {"dimensions": ["region", "size"], "prices": prices, "default_unit_price": default}


def _time_of_day(make: Pricer) -> Pricing:
    begins, ends = make.chance(1, 10), make.chance(12, 22)
    return {
        "zone": make.dice.choice(("Europe/Berlin", "Asia/Kathmandu", "UTC")),
        "bands": [
            {"from": f"{begins:02}:00", "to": f"{ends:02}:30", "unit_price": make.fine()},
            {"from": "23:00", "to": f"{begins:02}:00", "unit_price": make.fine()},
        ],
        "default_unit_price": make.fine(),
    }


_MAKERS: Final[Mapping[str, _Maker]] = {
    "flat": lambda make: {"amount": make.flat()},
    "per_unit": lambda make: {"unit_price": make.fine()},
    "graduated": _graduated,
    "volume": _graduated,
    "package": _package,
    "stairstep": lambda make: {"tiers": make.stairs()},
    "capacity": lambda make: {"tiers": make.stairs()},
    "tiered_blocks": _blocks,
    "percentage": _percentage,
    "graduated_percentage": _graduated_percentage,
    "matrix": _matrix,
    "time_of_day": _time_of_day,
    "dynamic": lambda _: {},
}
_FOR_TIME: Final = (*["flat"] * 4, *["per_unit"] * 2, "graduated", "volume", "package", "stairstep")
_FOR_ANY: Final = (
    "flat", "per_unit", "graduated", "volume", "package", "stairstep", "capacity", "tiered_blocks",
)  # fmt: skip


# these look at more than the quantity, and a charge is measured in one way
_CLOSER: Final = ("matrix", "percentage", "time_of_day", "dynamic")


def _goes_with(model: str, standard: str) -> bool:
    """Say whether a price list may have a price of this model beside the standard one."""
    if standard not in _CLOSER or model not in _CLOSER:
        return True
    return model == standard != "time_of_day"


def _models_for(meter: MeterFact) -> list[str]:
    models = list(_FOR_ANY)
    if meter.late:
        return models  # nothing that depends on when orphans were attached
    if meter.group_by:
        return ["matrix"] * 4 + models[:2]
    if meter.aggregation == "sum" and not meter.recurring:
        models += ["percentage", "dynamic", "time_of_day"] * 2
    if meter.aggregation == "count":
        models += ["dynamic", "time_of_day"]
    if meter.aggregation not in _WHOLE:
        models.append("graduated_percentage")
    return models


class Seller:
    """Makes up plans."""

    def __init__(self, dice: Dice, meters: Sequence[MeterFact] = METERS) -> None:
        self.dice = dice
        self.meters = meters

    def plans(self, count: int) -> list[dict[str, Any]]:
        """Return so many plans, as an operator would write them.

        Those with an odd number carry no levels, so that a customer may have several of them.
        """
        return [self._plan(number) for number in range(count)]

    def _plan(self, number: int) -> dict[str, Any]:
        dice = self.dice
        currencies = dice.sample(sorted(DECIMALS), dice.randrange(1, 4))
        phases: list[dict[str, Any]] = []
        shape = dice.choice(("trial", "trial, discount", "discount", "term", *["plain"] * 4))
        if "trial" in shape:
            length = dice.choice(({"unit": "day", "count": 14}, {"unit": "month", "count": 1}))
            charges = self._charges(number, currencies, 1) if "discount" in shape else []
            phases.append({"kind": "trial", "duration": length, "charges": charges})
        if "discount" in shape:
            length = {"unit": "month", "count": dice.randrange(1, 4)}
            charges = self._charges(number, currencies, 2)
            phases.append({"kind": "discount", "duration": length, "charges": charges})
        last: dict[str, Any] = {"kind": "evergreen"}
        if shape == "term":
            last = {"kind": "fixed_term", "duration": {"unit": "month", "count": 7}}
        phases.append({**last, "charges": self._charges(number, currencies, dice.randrange(2, 5))})
        return {"key": f"plan-{number}", "name": f"Plan {number}", "phases": phases}

    def _charges(self, plan: int, currencies: list[str], count: int) -> list[dict[str, Any]]:
        return [self._charge(plan, number, currencies) for number in range(count)]

    def _charge(self, plan: int, number: int, currencies: list[str]) -> dict[str, Any]:
        dice = self.dice
        unit, span = dice.choice(_PERIODS)
        charge: dict[str, Any] = {"key": f"charge-{number}", "name": f"Charge {number}"}
        kind = dice.choice(("fixed", *["recurring"] * 3, *["usage"] * 5))
        if number == 0:
            kind = "recurring"  # a plan has a pace
        if kind == "fixed":
            charge["kind"] = "fixed"
            return charge | {"prices": self._prices(currencies, None, ["flat", "per_unit"])}
        charge["period"] = {"unit": unit, "count": span}
        charge["prorated"] = dice.often(80)
        if kind == "recurring":
            charge["timing"] = dice.choice(("advance", "advance", "arrears"))
            charge["included_quantity"] = "1" if dice.often(15) else "0"
            return charge | {"prices": self._prices(currencies, None, _FOR_TIME)}
        meters = [one for one in self.meters if not (plan % 2 and one.recurring)]
        meter = dice.choice(meters)
        charge["meter"] = meter.key
        charge["included_quantity"] = dice.choice(("0", "0", "3", "12.5"))
        return charge | {"prices": self._prices(currencies, meter, _models_for(meter))}

    def _prices(
        self, currencies: list[str], meter: MeterFact | None, models: Sequence[str]
    ) -> list[dict[str, Any]]:
        prices: list[dict[str, Any]] = []
        for currency in currencies:
            for listed in (None, PRICE_LIST):
                if listed and self.dice.often(60):
                    continue
                make = Pricer(self.dice, currency, meter)
                price: dict[str, Any] = {"currency": currency}
                if listed:
                    price["price_list"] = listed
                standard = prices[-1]["pricing"]["model"] if listed else ""
                fit = [one for one in models if _goes_with(one, standard)]
                price["pricing"] = make.pricing(self.dice.choice(fit))
                if meter is not None:
                    price |= self._limits(make)
                prices.append(price)
        return prices

    def _limits(self, make: Pricer) -> dict[str, str]:
        found = {}
        if self.dice.often(20):
            found["minimum"] = make.flat(20)
        if self.dice.often(20):
            found["maximum"] = str(make.chance(25, 60))
        return found


def units(document: Mapping[str, Any]) -> set[str]:
    """Return in which units the billing periods of a plan are counted."""
    return {
        charge["period"]["unit"]
        for phase in document["phases"]
        for charge in phase["charges"]
        if "period" in charge
    }


def fits_anchor(document: Mapping[str, Any], anchor_day: int | None) -> bool:
    """Say whether all billing periods of a plan can be counted from an anchor day."""
    if anchor_day is None:
        return True
    found = units(document)
    return "day" not in found and not ("week" in found and anchor_day > _DAYS_A_WEEK)
