"""Chance that can be repeated: everything of a simulation is drawn from one seeded source."""

from datetime import datetime, timedelta
from random import Random
from uuid import UUID


class Dice(Random):
    """What a seed makes of chance, the same every time."""

    def often(self, percent: int) -> bool:
        """Say yes in so many cases of a hundred."""
        return self.randrange(100) < percent

    def id(self) -> UUID:
        """Return an id as the product makes them, but foreseeable."""
        return UUID(int=self.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)

    def instant(self, start: datetime, end: datetime) -> datetime:
        """Return an instant in ``[start, end)``, to the second; now and then ``start`` itself."""
        seconds = int((end - start).total_seconds())
        if seconds <= 0 or self.often(2):
            return start
        return start + timedelta(seconds=self.randrange(seconds))
