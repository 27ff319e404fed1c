"""What an operator may do to rows from the desk: one operation each, after a confirmation."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid5

from django import forms
from django.contrib import messages
from django.http import HttpRequest

from apps.core.errors import BillingError
from apps.tenants.desk.rights import actor_of, rights_of

MOST_AT_ONCE: Final = 100


def _always(_row: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class By:
    """On whose behalf something is done, the id of what it creates, and what was asked for."""

    actor: str
    effect_id: UUID
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file that belongs to a row, for whoever may read the row.

    ``read(row)`` returns its name, its media type and its content.
    """

    name: str
    label: str
    read: Callable[[Any], tuple[str, str, bytes]]
    icon: str = "download"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One action: who may (``resource``, and ``besides``), on which rows (``fits``), and what it calls.

    ``run(row, by)`` calls one operation, which is safe to repeat; a ``BillingError`` from it becomes
    a message. ``warning`` tells, before it happens, what cannot be undone. What ``form`` asks for
    comes to ``run`` as ``by.given``; such a verb is for one row at a time. Where it ``leads_on``, the
    page of the row that ``run`` returns is shown next.
    """

    name: str
    label: str
    resource: str
    run: Callable[[Any, By], object]
    fits: Callable[[Any], bool] = _always
    warning: str = ""
    icon: str = "play_arrow"
    form: type[forms.Form] | None = None
    besides: str = ""  # another resource that whoever does it must have the right to
    leads_on: bool = False

    def is_for(self, request: HttpRequest, row: Any) -> bool:
        """Say whether the operator may do this, and the row is one to do it to."""
        return self.is_allowed(request, row) and self.fits(row)

    def is_allowed(self, request: HttpRequest, row: Any) -> bool:
        """Say whether the operator may do this at the row's tenant."""
        rights = rights_of(request)
        needed = [one for one in (self.resource, self.besides) if one]
        return all(rights.may(one, "write", row.tenant_id) for one in needed)

    def run_all(
        self,
        request: HttpRequest,
        rows: Iterable[Any],
        *,
        effect: UUID,
        given: Mapping[str, Any] | None = None,
    ) -> list[object]:
        """Do it to each row on its own and tell the operator what came of it; return that.

        ``effect`` is the question's own id, so that an answer sent twice has one effect.
        """
        actor = actor_of(request)
        done = []
        made = []
        for row in rows:
            if not self.is_allowed(request, row):
                messages.error(request, f"{row}: your role does not allow this.")
                continue
            try:
                made.append(self.run(row, By(actor, uuid5(effect, str(row.pk)), given or {})))
            except BillingError as error:
                messages.error(request, f"{row}: {error.detail or error.reason}")
            else:
                done.append(str(row))
        if done:
            messages.success(request, f"{self.label}: {', '.join(done)}.")
        return made
