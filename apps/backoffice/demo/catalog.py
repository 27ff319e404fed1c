"""What the demo company sells: one plan for each way of pricing that people ask about."""

from collections.abc import Mapping
from typing import Any, Final

CURRENCIES: Final = ("USD", "EUR")


def _prices(pricing: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the same figures in every currency."""
    return [{"currency": currency, "pricing": dict(pricing)} for currency in CURRENCIES]


def _fee(key: str, name: str, amount: str, period: str = "monthly") -> dict[str, Any]:
    pricing = {"model": "flat", "amount": amount}
    return {"key": key, "name": name, "period": period, "prices": _prices(pricing)}


def _usage(
    key: str, name: str, meter: str, pricing: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "key": key,
        "name": name,
        "meter": meter,
        "period": "monthly",
        "prices": _prices(pricing),
        **more,
    }


_CALLS: Final = {
    "model": "graduated",
    "tiers": [
        {"up_to": "100000", "unit_price": "0"},
        {"up_to": "1000000", "unit_price": "0.0004"},
        {"up_to": None, "unit_price": "0.00025"},
    ],
}
_TOKENS: Final = {
    "model": "matrix",
    "dimensions": ["model", "direction"],
    "prices": [
        {"values": ["small", "input"], "unit_price": "0.0000004"},
        {"values": ["small", "output"], "unit_price": "0.0000016"},
        {"values": ["large", "input"], "unit_price": "0.000003"},
        {"values": ["large", "output"], "unit_price": "0.000015"},
    ],
    "default_unit_price": "0.000001",
}

METERS: Final = (
    {"key": "api_calls", "name": "API calls", "unit": "calls", "aggregation": "sum"},
    {"key": "storage", "name": "Storage", "unit": "GB", "aggregation": "max"},
    {"key": "renders", "name": "Rendered images", "unit": "images", "aggregation": "sum"},
    {
        "key": "tokens",
        "name": "Tokens",
        "unit": "tokens",
        "aggregation": "sum",
        "group_by": ["model", "direction"],
    },
    {
        "key": "active_users",
        "name": "Active users",
        "unit": "users",
        "aggregation": "unique_count",
        "value_property": "user",
    },
)

_STARTER: Final = {
    "key": "starter",
    "name": "Starter",
    "product": "platform",
    "phases": [
        {
            "kind": "evergreen",
            "charges": [
                _fee("base", "Starter", "29.00"),
                _usage(
                    "calls",
                    "API calls",
                    "api_calls",
                    {"model": "per_unit", "unit_price": "0.0005"},
                    included_quantity="50000",
                ),
            ],
        }
    ],
}
_TEAM: Final = {
    "key": "team",
    "name": "Team, per seat",
    "product": "platform",
    "phases": [
        {"kind": "trial", "duration": {"unit": "day", "count": 14}, "charges": []},
        {
            "kind": "evergreen",
            "charges": [
                {
                    "key": "seats",
                    "name": "Seats",
                    "period": "monthly",
                    "prices": _prices({"model": "per_unit", "unit_price": "15.00"}),
                },
                _usage(
                    "guests",
                    "Active guests",
                    "active_users",
                    {
                        "model": "volume",
                        "tiers": [
                            {"up_to": "20", "unit_price": "0"},
                            {"up_to": None, "unit_price": "1.50"},
                        ],
                    },
                ),
            ],
        },
    ],
}
_AI: Final = {
    "key": "ai",
    "name": "Models, by the token",
    "product": "models",
    "phases": [
        {
            "kind": "evergreen",
            "charges": [
                _fee("base", "Models", "49.00"),
                _usage("tokens", "Tokens", "tokens", _TOKENS),
            ],
        }
    ],
}
_MEDIA: Final = {
    "key": "media",
    "name": "Media, by the thousand",
    "product": "media",
    "phases": [
        {
            "kind": "evergreen",
            "charges": [
                _fee("base", "Media", "99.00"),
                _usage(
                    "renders",
                    "Rendered images",
                    "renders",
                    {"model": "package", "size": "1000", "price": "12.00", "free_units": "2000"},
                ),
                _usage(
                    "storage", "Storage", "storage", {"model": "per_unit", "unit_price": "0.08"}
                ),
            ],
        }
    ],
}
_YEARLY: Final = {
    "key": "enterprise",
    "name": "Enterprise, yearly",
    "product": "platform",
    "phases": [
        {
            "kind": "evergreen",
            "charges": [
                _fee("base", "Enterprise", "24000.00", "yearly"),
                _usage("calls", "API calls", "api_calls", _CALLS),
            ],
        }
    ],
}


def growth(base: str) -> dict[str, Any]:
    """Return the plan that gets a second version: a base fee, tiers of calls, storage."""
    return {
        "key": "growth",
        "name": "Growth",
        "product": "platform",
        "phases": [
            {
                "kind": "evergreen",
                "charges": [
                    _fee("base", "Growth", base),
                    _usage("calls", "API calls", "api_calls", _CALLS),
                    _usage(
                        "storage",
                        "Storage",
                        "storage",
                        {"model": "per_unit", "unit_price": "0.10"},
                        included_quantity="100",
                    ),
                ],
            }
        ],
    }


DOCUMENT: Final[Mapping[str, Any]] = {
    "products": [
        {"key": "platform", "name": "Platform"},
        {"key": "models", "name": "Models"},
        {"key": "media", "name": "Media"},
    ],
    "meters": list(METERS),
    "plans": [_STARTER, _TEAM, _AI, _MEDIA, _YEARLY, growth("149.00")],
}
