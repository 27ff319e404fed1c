"""How the desk shows values: amounts with their currency, instants with their zone."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import moneyed
from django.apps import apps
from django.contrib import admin
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from djmoney.models.fields import MoneyField

from apps.core.ids import encode
from apps.core.models import Identified
from apps.core.money import exponent

Column = Callable[[Any], Any]

EMPTY: Final = "–"

# what a word means to the eye: good, in progress, look here, wrong; the rest is neutral
_TONES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("paid", "active", "published", "succeeded", "done", "attached"), "good"),
    **dict.fromkeys(
        ("issued", "scheduled", "pending", "running", "sent", "created", "applied", "live"), "busy"
    ),
    **dict.fromkeys(("partially_paid", "unknown", "retired", "open", "test"), "look"),
    **dict.fromkeys(("overdue", "written_off", "failed", "dead"), "wrong"),
}


def value_at(row: Any, path: str) -> Any:
    """Return the attribute at a dotted path; None where one on the way is None."""
    for name in path.split("."):
        if row is None:
            return None
        row = getattr(row, name)
    return row


def _column(show: Column, *, name: str, title: str, order: str) -> Column:
    words = title or name.replace(".", " ").replace("_", " ").strip()

    @admin.display(description=words, ordering=order or None, empty_value=EMPTY)
    def column(row: Any) -> Any:
        return show(row)

    column.__name__ = name.replace(".", "_")
    return column


def _order(path: str) -> str:
    return path.replace(".", "__")


def ident() -> Column:
    """Return the column of the id, as callers see it."""

    def show(row: Identified) -> str:
        return format_html('<span class="desk-id">{}</span>', row.public_id)

    return _column(show, name="ident", title="id", order="pk")


def named(title: str) -> Column:
    """Return a column of what the row calls itself."""

    def show(row: Any) -> str:
        return format_html('<span class="desk-named">{}</span>', str(row))

    return _column(show, name="named", title=title, order="pk")


def itself(title: str, text: Callable[[Any], str] = str) -> Column:
    """Return a column that leads to the page of the row itself, for rows listed below another."""

    def show(row: Any) -> str:
        return linked(type(row), row.pk, text(row))

    return _column(show, name="itself", title=title, order="pk")


def plain(path: str, title: str = "") -> Column:
    """Return a column of text as it is."""

    def show(row: Any) -> Any:
        value = value_at(row, path)
        match value:
            case Decimal():
                return f"{value.normalize():,f}"
            case bool():
                return "yes" if value else "no"
            case list():
                return ", ".join(map(str, value))
            case _:
                return value

    return _column(show, name=path, title=title, order=_order(path))


def choice(path: str, title: str = "") -> Column:
    """Return a column of one of few words, with a colour by its meaning."""

    def show(row: Any) -> Any:
        word = value_at(row, path)
        return badge(str(word)) if word else None

    return _column(show, name=path, title=title, order=_order(path))


def status() -> Column:
    """Return the column of the status."""
    return choice("status")


def badge(word: str) -> str:
    """Return a word as a badge."""
    tone = _TONES.get(word, "plain")
    return format_html('<span class="desk-badge desk-{}">{}</span>', tone, word.replace("_", " "))


def amount(path: str, title: str = "", *, currency: str = "currency") -> Column:
    """Return a column of an amount, written with its currency."""

    def show(row: Any) -> Any:
        value = value_at(row, path)
        if value is None:
            return None
        if isinstance(value, moneyed.Money):
            text = amount_text(value.amount, str(value.currency))
        else:
            text = amount_text(value, str(value_at(row, currency)))
        return format_html('<span class="desk-nowrap">{}</span>', text)

    return _column(show, name=path, title=title, order=_order(path))


def amount_text(value: Decimal, currency: str) -> str:
    """Return an amount such as ``1,234.50 USD``: every digit it has, at least the currency's."""
    short = value.normalize()
    places = max(exponent(currency), -int(short.as_tuple().exponent))
    return f"{short:,.{places}f} {currency}".replace("-", "−")


def instant(path: str, title: str = "", *, zone: str = "") -> Column:
    """Return a column of an instant in UTC, and in the zone at ``zone`` where that is given."""

    def show(row: Any) -> Any:
        value = value_at(row, path)
        if value is None:
            return None
        date, _, time = instant_text(value).partition(" ")
        there = ""
        name = str(value_at(row, zone) or "UTC") if zone else "UTC"
        if name != "UTC":
            there = f" ({value.astimezone(ZoneInfo(name)):%Y-%m-%d %H:%M} {name})"
        return format_html(
            '<time datetime="{}"><span class="desk-nowrap">{}</span>'
            ' <span class="desk-nowrap">{}</span>{}</time>',
            value.astimezone(UTC).isoformat(),
            date,
            time,
            there,
        )

    return _column(show, name=path, title=title, order=_order(path))


def instant_text(value: datetime) -> str:
    """Return an instant such as ``2026-05-01 00:00 UTC``, with seconds where there are some."""
    value = value.astimezone(UTC)
    return f"{value:%Y-%m-%d %H:%M:%S}".removesuffix(":00") + " UTC"


def document(path: str, title: str = "") -> Column:
    """Return a column of JSON, laid out to be read."""

    def show(row: Any) -> Any:
        lines = list(_lines(value_at(row, path), ""))
        return format_html('<pre class="desk-json">{}</pre>', "\n".join(lines)) if lines else None

    return _column(show, name=path, title=title, order="")


def _lines(value: Any, margin: str) -> Iterator[str]:
    """Yield a JSON value as indented lines; members without content are left out."""
    match value:
        case dict():
            members = list(value.items())
        case list():
            members = [(str(number), one) for number, one in enumerate(value, 1)]
        case _:
            if value not in (None, ""):
                yield f"{margin}{value}"
            return
    for name, member in members:
        inner = list(_lines(member, f"{margin}  "))
        if not isinstance(member, dict | list) and len(inner) == 1 and "\n" not in inner[0]:
            yield f"{margin}{name}: {inner[0].strip()}"
        elif inner:
            yield f"{margin}{name}:"
            yield from inner


def link(path: str, title: str = "") -> Column:
    """Return a column of another row, linked to its page."""

    def show(row: Any) -> Any:
        other = value_at(row, path)
        return None if other is None else linked(type(other), other.pk, str(other))

    return _column(show, name=path, title=title, order=f"{_order(path)}_id")


def reference(path: str, label: str, title: str = "") -> Column:
    """Return a column of an id that is no foreign key, linked to the page of model ``label``."""

    def show(row: Any) -> Any:
        pk = value_at(row, path)
        model = apps.get_model(label)
        if pk is None:
            return None
        return linked(model, pk, encode(cast("type[Identified]", model).ID_PREFIX, pk))

    return _column(show, name=path, title=title or path.removesuffix("_id"), order=_order(path))


def linked(model: type[models.Model], pk: Any, text: str) -> str:
    """Return text that leads to the page of a row, if rows of the model have one."""
    try:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])
    except NoReverseMatch:
        return text
    return format_html('<a class="desk-link" href="{}">{}</a>', url, text)


def column_of(field: models.Field[Any, Any]) -> Column:
    """Return the column that suits a model's field."""
    name, title = field.name, str(field.verbose_name)
    match field:
        case MoneyField():
            return amount(name, title)
        case models.DateTimeField():
            return instant(name, title)
        case models.JSONField():
            return document(name, title)
        case models.ForeignKey():
            return link(name, title)
        case models.CharField() if field.choices:
            return choice(name, title)
        case _:
            return plain(name, title)
