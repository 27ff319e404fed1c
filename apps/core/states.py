"""Moving an object from one status to another: the only code that sets one."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from django.db import models
from django.utils.text import camel_case_to_spaces

from apps.core.copying import save_rows
from apps.core.errors import Conflict
from apps.core.events import Happening, JsonScalar, record_all
from apps.core.models import Identified


class IllegalTransition(Conflict):
    reason = "illegal_transition"


class Stateful(Identified):
    """A tenant's row with a status that only ``move`` may change."""

    tenant_id: UUID

    status = models.CharField(max_length=20)

    class Meta:
        abstract = True


S = TypeVar("S", bound=StrEnum)


def move(
    subject: Stateful,
    *,
    to: S,
    allowed: Mapping[S, frozenset[S]],
    actor: str,
    at: datetime,
    also: Iterable[str] = (),
    **data: JsonScalar,
) -> None:
    """Set the status if the table allows it, save it with the fields in ``also``, record it.

    The caller holds the row's lock. The event is named ``<model>.<status>``, such as
    ``credit_memo.issued``, and carries the old status as ``was``. Raises ``IllegalTransition`` and
    changes nothing if the table forbids it.
    """
    happening = _moved(subject, to, allowed, data)
    subject.status = to
    subject.save(update_fields=["status", *also])
    record_all([happening], actor=actor, at=at)


def move_all(
    subjects: Sequence[Stateful],
    *,
    to: S,
    allowed: Mapping[S, frozenset[S]],
    actor: str,
    at: datetime,
    also: Iterable[str] = (),
) -> None:
    """Move many rows of one model in three statements; all or none, otherwise like ``move``."""
    if not subjects:
        return
    happenings = [_moved(subject, to, allowed, {}) for subject in subjects]
    for subject in subjects:
        subject.status = to
    save_rows(subjects, ["status", *also])
    record_all(happenings, actor=actor, at=at)


def _moved(
    subject: Stateful, to: S, allowed: Mapping[S, frozenset[S]], data: Mapping[str, JsonScalar]
) -> Happening:
    was = type(to)(subject.status)
    words = camel_case_to_spaces(subject._meta.object_name or "")
    name = words.replace(" ", "_")
    if to not in allowed[was]:
        raise IllegalTransition(
            f"This {words} is {was}; it cannot become {to}."
            f" From {was} it can become: {', '.join(sorted(allowed[was])) or 'nothing'}."
        )
    return Happening(
        f"{name}.{to}", subject.tenant_id, subject.ID_PREFIX, subject.id, {"was": was, **data}
    )
