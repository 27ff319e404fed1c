"""Which fields an item has: whose usage it is and what happened, under which of their names."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple, NoReturn, cast

from apps.metering.domain import SubjectKind
from apps.metering.intake.refusals import refuse

_SUBJECTS: Final = {
    "subject": SubjectKind.SUBJECT,
    "customer": SubjectKind.CUSTOMER,
    "customer_id": SubjectKind.CUSTOMER,
    "external_customer_id": SubjectKind.CUSTOMER,
    "subscription": SubjectKind.SUBSCRIPTION,
    "subscription_id": SubjectKind.SUBSCRIPTION,
}
_NAMES: Final = {"event_name": "", "meter": "meter ", "metric_key": "meter "}
_FIELDS: Final = frozenset(
    {"idempotency_key", "timestamp", "value", "properties", *_SUBJECTS, *_NAMES}
)


class Shape(NamedTuple):
    """Which fields of an item say whose usage it is and what happened.

    ``name_kind`` is put before a meter's key, so that it is not taken for an event name.
    """

    subject_field: str
    kind: str  # no member of the enumeration: hashing one runs Python code
    name_field: str
    name_kind: str


# the items of a caller have the same fields in the same order; each shape is checked once
_known: Final[dict[tuple[str, ...], Shape]] = {}
_MOST_KNOWN: Final = 1_000


def shape_of(item: Mapping[str, object]) -> Shape:
    """Return the shape of an item; raise ``EventRefused`` for fields unknown, missing or too many.

    Of a shape that is known, a field may still be null.
    """
    return _known.get(tuple(item)) or _checked(item)


def known_shapes(items: Iterable[Mapping[str, object]]) -> list[Shape]:
    """Return the shape of each item; none at all if there is one that has not been met before."""
    shapes = list(map(_known.get, map(tuple, items)))
    return [] if None in shapes else cast("list[Shape]", shapes)


def _checked(item: Mapping[str, object]) -> Shape:
    if not item.keys() <= _FIELDS:
        _refuse_unknown(item)
    given = [field for field, value in item.items() if value is not None]
    subjects = [field for field in given if field in _SUBJECTS]
    names = [field for field in given if field in _NAMES]
    if not subjects:
        refuse("subject", "required", "Say whose usage it is: customer, or subscription.")
    if len(subjects) > 1:
        refuse(subjects[1], "subject_ambiguous", f"Give {' or '.join(subjects)}, not both.")
    if not names:
        refuse("event_name", "required", "Say what happened: event_name, or meter.")
    if len(names) > 1:
        refuse(names[1], "event_ambiguous", f"Give {' or '.join(names)}, not both.")
    shape = Shape(subjects[0], _SUBJECTS[subjects[0]].value, names[0], _NAMES[names[0]])
    is_clear = len(_SUBJECTS.keys() & item.keys()) == len(_NAMES.keys() & item.keys()) == 1
    if is_clear and len(_known) < _MOST_KNOWN:
        _known[tuple(item)] = shape
    return shape


def _refuse_unknown(item: Mapping[str, object]) -> NoReturn:
    name = next(str(one) for one in item if one not in _FIELDS)
    close = get_close_matches(name[:64], sorted(_FIELDS), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else " Your own data go into properties."
    refuse(name[:64], "unknown_field", f"Unknown field {name[:64]!r}.{hint}")
