"""What the desk asks before it amends events: which, how, and why."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django import forms
from django.db.models import Q

from apps.core.errors import Invalid
from apps.core.ids import decode, is_id
from apps.customers.models import Customer
from apps.metering.domain import (
    AmendmentAction,
    AmendmentOrder,
    Backfilling,
    EventChange,
    EventSelection,
    Replacing,
    SubjectKind,
    Voiding,
)
from apps.metering.models import UsageSubject
from apps.rating.filters import parse_filters
from apps.tenants.desk import reason_field

_MOST: Final = 1_000
_ACTIONS: Final = (
    (AmendmentAction.VOID.value, "Void: they count no more"),
    (AmendmentAction.REPLACE.value, "Replace: others take their places"),
    (AmendmentAction.BACKFILL.value, "Backfill: bring in events"),
)


def _instant(label: str, *, note: str = "UTC.") -> forms.Field:
    return forms.DateTimeField(
        label=label,
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "any"}),
        help_text=note,
    )


def _text(label: str, note: str = "", *, rows: int = 0) -> forms.Field:
    widget = forms.Textarea(attrs={"rows": rows}) if rows else forms.TextInput()
    return forms.CharField(label=label, required=False, widget=widget, help_text=note)


def _number(label: str, note: str = "") -> forms.Field:
    return forms.DecimalField(
        label=label,
        required=False,
        max_digits=32,
        decimal_places=12,
        widget=forms.TextInput(attrs={"inputmode": "decimal"}),
        help_text=note,
    )


class AmendmentForm(forms.Form):
    """Events singly, by a list of keys, or by a range with filters; ``order`` is what is to be done.

    It is there once the form is valid.
    """

    action = forms.ChoiceField(choices=_ACTIONS)
    keys = _text("Keys", "To void or replace: idempotency keys, one a line, at most 1,000.", rows=3)
    start = _instant("From", note="Or all of a stretch of time. UTC.")
    end = _instant("To, exclusive")
    event_name = _text("Event name", "Of the stretch: only events called so.")
    customer = _text("Customer", "Of the stretch: only his, by id or external id.")
    subscription = _text("Subscription", "Of the stretch: only its, by id or external id.")
    filters = _text(
        "Filters",
        'Of the stretch, as JSON: [{"property": "region", "op": "eq", "value": "eu"}].',
        rows=2,
    )
    value = _number("New value", "To replace.")
    factor = _number("Or value times")
    timestamp = _instant("New time")
    move_to = _text("New customer", "By id or external id.")
    properties = _text("New properties", "As a JSON object; null takes one away.", rows=2)
    events = _text("Events", "To backfill: a JSON list, as for POST /events/batch.", rows=4)
    reason = reason_field()

    order: AmendmentOrder

    def __init__(self, tenant_id: UUID, posted: Any = None) -> None:
        """Ask on behalf of a tenant, whose customers and subscriptions are meant."""
        super().__init__(posted)
        self._tenant_id = tenant_id

    def clean(self) -> dict[str, Any]:
        """Make the order, or say what is missing."""
        given = dict(super().clean() or {})  # what has an error is taken out of the form's own
        if self.errors:
            return given
        match given["action"]:
            case AmendmentAction.BACKFILL:
                events = self._json("events", list)
                if not events or len(events) > _MOST:
                    self.add_error("events", f"Give 1 to {_MOST:,} events.")
                self.order = Backfilling(events or [])
            case AmendmentAction.REPLACE:
                self.order = Replacing(self._selection(given), self._change(given))
            case _:
                self.order = Voiding(self._selection(given))
        return given

    def _selection(self, given: Mapping[str, Any]) -> EventSelection:
        keys = tuple(
            dict.fromkeys(one.strip() for one in given["keys"].splitlines() if one.strip())
        )
        if bool(keys) == (given["start"] is not None or given["end"] is not None):
            self.add_error("keys", "Give keys, or a stretch of time.")
        if keys:
            if len(keys) > _MOST:
                self.add_error("keys", f"At most {_MOST:,} keys.")
            return EventSelection(keys=keys, told={"keys": list(keys)})
        if given["start"] is None or given["end"] is None or given["end"] <= given["start"]:
            self.add_error("end", "Give both, the end after the start.")
            return EventSelection()
        where: dict[str, object] = {
            "start": given["start"].isoformat(),
            "end": given["end"].isoformat(),
        }
        where |= {
            name: given[name] for name in ("event_name", "customer", "subscription") if given[name]
        }
        rows = self._json("filters", list) or []
        if rows:
            where["filters"] = rows
        try:
            filters = tuple(parse_filters(rows, "filters"))
        except Invalid as error:
            self.add_error("filters", str(error))
            filters = ()
        return EventSelection(
            start=given["start"],
            end=given["end"],
            event_name=given["event_name"],
            customer_id=self._customer("customer", given["customer"]),
            subscription_id=self._subscription(given["subscription"]),
            filters=filters,
            told={"where": where},
        )

    def _change(self, given: Mapping[str, Any]) -> EventChange:
        names = ("value", "factor", "timestamp", "properties", "move_to")
        if all(given[name] in (None, "") for name in names):
            self.add_error("value", "Say what is different.")
        if given["value"] is not None and given["factor"] is not None:
            self.add_error("factor", "Give a value or a factor, not both.")
        self._customer("move_to", given["move_to"])
        return EventChange(
            value=given["value"],
            factor=given["factor"],
            timestamp=given["timestamp"],
            properties=self._json("properties", dict) or {},
            subject=(SubjectKind.CUSTOMER, given["move_to"]) if given["move_to"] else None,
        )

    def _json(self, name: str, kind: type[Any]) -> Any:
        text = self.cleaned_data.get(name, "").strip()
        if not text:
            return None
        try:
            found = json.loads(text, parse_float=Decimal)
        except ValueError as error:
            self.add_error(name, f"This is no JSON: {error}.")
            return None
        if not isinstance(found, kind):
            self.add_error(name, "This is JSON of another kind.")
            return None
        return found

    def _customer(self, field: str, name: str) -> UUID | None:
        if not name:
            return None
        wanted = Q(external_id=name)
        if is_id(Customer.ID_PREFIX, name):
            wanted |= Q(pk=decode(Customer.ID_PREFIX, name))
        rows = Customer.objects.filter(wanted, tenant=self._tenant_id)
        found = rows.values_list("pk", flat=True).first()
        if found is None:
            self.add_error(field, "There is no such customer.")
        return found

    def _subscription(self, name: str) -> UUID | None:
        if not name:
            return None
        wanted = Q(external_id=name)
        if is_id("sub", name):
            wanted |= Q(pk=decode("sub", name))
        rows = UsageSubject.objects.filter(wanted, tenant_id=self._tenant_id)
        found = rows.values_list("pk", flat=True).first()
        if found is None:
            self.add_error("subscription", "There is no such subscription.")
        return found
