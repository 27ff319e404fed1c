"""Reading the items of a request into columns, in the form in which they are stored."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from apps.metering.intake.columns import Columns, Doubtful, read_columns
from apps.metering.intake.expectations import Expectations
from apps.metering.intake.identity import HASH_BYTES
from apps.metering.intake.items import Row, Window, read_item
from apps.metering.intake.refusals import EventRefused

_FEW: Final = 4  # items that are read faster one by one


class Refusal(NamedTuple):
    """An item that is no event."""

    place: int
    item: object
    why: EventRefused


@dataclass(slots=True)
class Events:
    """Events that may be stored, one column for each field; all columns have one length.

    ``places``: of the item that each was. ``ids`` and ``fingerprints``: the hashes of the keys and
    of the payloads. ``kinds`` and ``subjects``: whose usage it is. ``times`` are in microseconds
    since 2000, ``values`` in plain digits, ``documents`` are the properties as JSON.
    """

    places: Sequence[int]
    ids: list[bytes]
    fingerprints: list[bytes]
    keys: list[str]
    names: list[str]
    kinds: list[str]
    subjects: list[str]
    times: list[int]
    values: list[str | None]
    documents: list[bytes]

    def only(self, kept: Sequence[int]) -> "Events":
        """Return some of the events, named by their index in the columns."""
        columns: Iterable[Any] = (getattr(self, column.name) for column in fields(self))
        return Events(*([column[index] for index in kept] for column in columns))


class EventReader:
    """Reads the items of one tenant's request, received at one instant."""

    def __init__(
        self, tenant_id: UUID, expected: Expectations, window: Window, *, at: datetime
    ) -> None:
        """Remember against what to check; ``at`` is when events without a time happened."""
        self._tenant = tenant_id.bytes
        self._expected, self._window, self._at = expected, window, at

    def read(self, items: Sequence[object]) -> tuple[Events, list[Refusal]]:
        """Return the events among the items, and the items that are none."""
        if len(items) > _FEW:
            try:
                columns = read_columns(items, self._expected, self._window, at=self._at)
            except Doubtful:
                pass
            else:
                return self._events(range(len(items)), columns), []
        return self._read_one_by_one(items)

    def _read_one_by_one(self, items: Sequence[object]) -> tuple[Events, list[Refusal]]:
        rows: list[Row] = []
        places: list[int] = []
        refusals: list[Refusal] = []
        for place, item in enumerate(items):
            try:
                rows.append(read_item(item, self._expected, self._window, at=self._at))
            except EventRefused as refused:
                refusals.append(Refusal(place, item, refused))
            else:
                places.append(place)
        columns: Iterable[Any] = zip(*rows, strict=True) if rows else ([] for _ in Row._fields)
        return self._events(places, Columns(*map(list, columns))), refusals

    def _events(self, places: Sequence[int], columns: Columns) -> Events:
        keys, told, names, kinds, subjects, times, are_timed, values, documents = columns
        sha256, tenant = hashlib.sha256, self._tenant
        return Events(
            places,
            [sha256(tenant + key.encode()).digest()[:HASH_BYTES] for key in keys],
            # nothing in it holds a line break, so that no two payloads are one text
            [
                sha256(
                    f"{called}\n{kind}\n{subject}\n{at if is_timed else ''}\n{value}\n".encode()
                    + document
                ).digest()[:HASH_BYTES]
                for called, kind, subject, at, is_timed, value, document in zip(
                    told, kinds, subjects, times, are_timed, values, documents, strict=True
                )
            ],
            keys,
            names,
            kinds,
            subjects,
            times,
            values,
            documents,
        )
