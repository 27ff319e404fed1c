"""Moving an object from one status to another: the only code that sets one."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from django.db import models
from django.utils.text import camel_case_to_spaces

from apps.core.bulk import Column, Same, save_rows, update_rows
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


def move_rows(
    model: type[Stateful],
    ids: Sequence[UUID],
    *,
    tenant_id: UUID,
    was: S,
    to: S,
    allowed: Mapping[S, frozenset[S]],
    actor: str,
    at: datetime,
    also: Mapping[str, Column],
) -> None:
    """Move rows of a tenant that nobody has loaded and that all stand at ``was``.

    In three statements, all or none, otherwise like ``move``; ``also`` gives columns that change
    with the status, in the order of ``ids``. Raises ``IllegalTransition`` where one stands
    elsewhere.
    """
    if not ids:
        return
    name, data = _check(model, was, to, allowed), {"was": was}
    changed = update_rows(
        model,
        ids,
        {"status": Same(to), **also},
        where={"status": was, "tenant_id": tenant_id},
    )
    if changed != len(ids):
        raise IllegalTransition(f"{len(ids) - changed} of {len(ids)} do not stand at {was}.")
    happenings = [Happening(name, tenant_id, model.ID_PREFIX, one, data) for one in ids]
    record_all(happenings, actor=actor, at=at)


def _moved(
    subject: Stateful, to: S, allowed: Mapping[S, frozenset[S]], data: Mapping[str, JsonScalar]
) -> Happening:
    was = type(to)(subject.status)
    name = _check(type(subject), was, to, allowed)
    return Happening(name, subject.tenant_id, subject.ID_PREFIX, subject.id, {"was": was, **data})


def _check(model: type[Stateful], was: S, to: S, allowed: Mapping[S, frozenset[S]]) -> str:
    """Return what the move is called in the log, if the table allows it."""
    words = camel_case_to_spaces(model._meta.object_name or "")
    if to not in allowed[was]:
        raise IllegalTransition(
            f"This {words} is {was}; it cannot become {to}."
            f" From {was} it can become: {', '.join(sorted(allowed[was])) or 'nothing'}."
        )
    return f"{words.replace(' ', '_')}.{to}"
