"""Who buys from the demo company: what they have, since when, and how well they pay."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

CITIES: Final = {
    "New York": ("America/New_York", "US"),
    "Austin": ("America/Chicago", "US"),
    "Berlin": ("Europe/Berlin", "DE"),
    "Lisbon": ("Europe/Lisbon", "PT"),
    "Tokyo": ("Asia/Tokyo", "JP"),
    "Sydney": ("Australia/Sydney", "AU"),
}


@dataclass(frozen=True, slots=True)
class Buyer:
    """A customer. ``size`` scales the usage; ``pays`` is a method of the sandbox, or a transfer."""

    name: str
    city: str
    plan: str
    currency: str = "USD"
    pays: str = "sandbox_ok"
    size: Decimal = Decimal(1)
    quantity: int = 1
    month: int = 0  # of the story, in which it subscribes
    day: int = 1
    calendar: bool = True  # billed on the first of the month, else on its own day
    leaves: int | None = None  # the month of the story in which it cancels
    new_card: int | None = None  # the month of the story in which its card works at last


TRANSFER: Final = "transfer"
NEVER: Final = "never"  # is sent invoices and pays none

BUYERS: Final = (
    Buyer("Aldermoor Analytics", "New York", "growth", size=Decimal(3)),
    Buyer("Bluestem Robotics", "Austin", "growth", size=Decimal(9)),
    Buyer("Cobalt Harbor", "New York", "starter"),
    Buyer("Drift & Dune Travel", "Lisbon", "starter", "EUR", size=Decimal("1.4")),
    Buyer("Ebbtide Software", "Berlin", "growth", "EUR", size=Decimal(4)),
    Buyer("Fernhill Foods", "Austin", "team", quantity=12),
    Buyer("Glasswing Labs", "Berlin", "ai", "EUR", size=Decimal(6)),
    Buyer("Hollow Creek Games", "Austin", "media", size=Decimal(5)),
    Buyer("Inkwell Press", "New York", "team", quantity=7, pays="sandbox_declined_once"),
    Buyer("Juniper Freight", "New York", "enterprise", size=Decimal(20), pays=TRANSFER),
    Buyer("Kestrel Mobility", "Berlin", "enterprise", "EUR", size=Decimal(14), pays=TRANSFER),
    Buyer("Lantern Health", "Austin", "growth", size=Decimal(2), pays="sandbox_delayed"),
    Buyer("Marigold Media", "Sydney", "media", size=Decimal(3)),
    Buyer("Northfold Energy", "New York", "growth", size=Decimal(7), pays=TRANSFER),
    Buyer("Obsidian Oak", "Tokyo", "ai", size=Decimal(4)),
    Buyer("Pinecrest Dental", "Austin", "starter", pays="sandbox_expired", new_card=3),
    Buyer("Quarry Lane Studio", "Lisbon", "media", "EUR", size=Decimal(2), calendar=False, day=8),
    Buyer("Tallgrass AI", "Austin", "ai", size=Decimal(12), month=1),
    Buyer("Umber Ceramics", "Lisbon", "starter", "EUR", month=1, leaves=4),
    Buyer("Verdigris Design", "Berlin", "team", "EUR", quantity=5, month=1, calendar=False, day=15),
    Buyer("Willowbank Schools", "New York", "team", quantity=40, month=1, pays=TRANSFER),
    Buyer("Xylem Forestry", "Sydney", "growth", size=Decimal(2), month=2),
    Buyer("Yarrow & Sons", "New York", "starter", month=2, pays="sandbox_declined"),
    Buyer("Amberline Retail", "Austin", "growth", size=Decimal(5), month=4, pays=NEVER),
    Buyer("Cinderpath Media", "New York", "media", size=Decimal(2), month=3, leaves=5),
    Buyer("Emberfield Solar", "Austin", "growth", size=Decimal(3), month=4),
    Buyer("Foxglove Biotech", "Berlin", "ai", "EUR", size=Decimal(8), month=4),
    Buyer("Grindstone Gyms", "New York", "starter", month=4, calendar=False, day=22),
    Buyer("Ironbark Timber", "Sydney", "team", quantity=6, month=5),
    Buyer("Jasper & Quill", "New York", "ai", size=Decimal(2), month=5),
)

OPERATORS: Final = (
    ("owner", "owner@demo.example", "Olive Owner"),
    ("finance", "finance@demo.example", "Farid Finance"),
    ("support", "support@demo.example", "Sina Support"),
    ("read_only", "guest@demo.example", "Gus Guest"),
)
