"""Reading scenario files, with every problem of a file at once. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

import yaml

METHODS: Final = ("get", "post", "put", "patch", "delete")
_FILE: Final = {"name", "about", "clock", "steps"}
_CALL: Final = {*METHODS, "body", "status", "expect", "save", "note"}
_ADVANCE: Final = {"advance", "note"}
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_LEAST_STATUS, _MOST_STATUS = 100, 599


class ScenarioInvalid(Exception):
    """A file is no scenario; ``problems`` lists everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and what is expected of its answer.

    ``status`` None accepts every success. ``expect`` is by the way to a value in the body, such as
    ``data.0.total``. ``save`` is the name under which later steps find the answer.
    """

    method: str
    path: str
    body: Any = None
    status: int | None = None
    expect: Mapping[str, Any] = field(default_factory=dict)
    save: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """Let time pass on the scenario's clock: the body of ``POST /test-clocks/{id}/advance``."""

    body: Mapping[str, Any]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story. ``clock`` is the instant at which its time begins; None: it needs no clock."""

    name: str
    about: str
    clock: str | None
    steps: tuple[Call | Advance, ...]


def read_scenario(text: str) -> Scenario:
    """Return the scenario that a YAML document describes; raise ``ScenarioInvalid``.

    A date stands for its midnight in UTC.
    """
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioInvalid([f"this is no YAML: {error}"]) from error
    if not isinstance(given, dict):
        raise ScenarioInvalid(["a scenario is a mapping with name and steps"])
    problems = [f"unknown: {name}" for name in sorted(map(str, given.keys() - _FILE))]
    name = given.get("name")
    if not isinstance(name, str) or not name.strip():
        problems.append("name: a text is needed")
    clock = given.get("clock")
    if clock is not None and not isinstance(clock, date):
        problems.append("clock: an instant is needed, such as 2026-01-01T00:00:00Z")
    rows = given.get("steps")
    steps: list[Call | Advance] = []
    if isinstance(rows, list) and rows:
        known = {"run"} if clock is None else {"run", "clock"}
        for number, row in enumerate(rows, start=1):
            step, found = _step(row, known, has_clock=clock is not None)
            problems += [f"step {number}: {problem}" for problem in found]
            if step is not None:
                steps.append(step)
    else:
        problems.append("steps: a list is needed, with at least one step")
    if problems:
        raise ScenarioInvalid(problems)
    return Scenario(
        name=str(name).strip(),
        about=str(given.get("about") or "").strip(),
        clock=_plain(clock),
        steps=tuple(steps),
    )


def _step(row: Any, known: set[str], *, has_clock: bool) -> tuple[Call | Advance | None, list[str]]:
    """Return a step, or None and what is wrong; adds the name that it saves to the known ones."""
    if not isinstance(row, dict):
        return None, ["a mapping is needed, such as {get: /invoices}"]
    row = _plain(row)
    verbs = [verb for verb in (*METHODS, "advance") if verb in row]
    if len(verbs) != 1:
        return None, [f"exactly one of {', '.join((*METHODS, 'advance'))} is needed"]
    verb = verbs[0]
    allowed = _ADVANCE if verb == "advance" else _CALL - (set(METHODS) - {verb})
    problems = [f"unknown: {name}" for name in sorted(map(str, row.keys() - allowed))]
    problems += [
        f"${{{name}}} is not known here: nothing was saved as {name.split('.')[0]!r} before"
        for name in sorted(set(_references(row)))
        if name.split(".")[0] not in known
    ]
    if verb == "advance":
        return _advance(row, problems, has_clock=has_clock)
    return _call(row, verb, problems, known)


def _call(
    row: Mapping[str, Any], verb: str, problems: list[str], known: set[str]
) -> tuple[Call | None, list[str]]:
    path, save, status = row[verb], row.get("save"), row.get("status")
    if not isinstance(path, str) or not path.startswith("/"):
        problems.append(f"{verb}: a path below /api/v1 is needed, such as /invoices")
    if verb == "get" and "body" in row:
        problems.append("body: a GET has none")
    if save is not None and not (isinstance(save, str) and _NAME.fullmatch(save)):
        problems.append("save: a name of a-z, 0-9 and _ is needed")
    elif isinstance(save, str):
        known.add(save)
    if status is not None and not (
        isinstance(status, int) and _LEAST_STATUS <= status <= _MOST_STATUS
    ):
        problems.append("status: a number from 100 to 599 is needed")
    expect = row.get("expect") or {}
    if not isinstance(expect, dict) or not all(isinstance(one, str) for one in expect):
        problems.append("expect: a mapping of places such as data.0.total to values is needed")
    if problems:
        return None, problems
    return Call(verb, path, row.get("body"), status, expect, save, _note(row)), []


def _advance(
    row: Mapping[str, Any], problems: list[str], *, has_clock: bool
) -> tuple[Advance | None, list[str]]:
    target = row["advance"]
    if not has_clock:
        problems.append("advance: the scenario has no clock")
    if not isinstance(target, str | dict) or not target:
        problems.append("advance: an instant, or a span such as {months: 1}, is needed")
    if problems:
        return None, problems
    return Advance({"by": target} if isinstance(target, dict) else {"to": target}, _note(row)), []


def _note(row: Mapping[str, Any]) -> str:
    return str(row.get("note") or "")


def _plain(value: Any) -> Any:
    """Return what YAML read with its dates as the API writes instants."""
    match value:
        case datetime():
            known = value if value.tzinfo else value.replace(tzinfo=UTC)
            return known.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return f"{value.isoformat()}T00:00:00Z"
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case _:
            return value


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _references(one)


def filled_in(value: Any, saved: Mapping[str, Any]) -> Any:
    """Return a value with every ``${name.way}`` replaced by what was saved.

    A text that is nothing but one reference becomes what it refers to, of whatever type. Raises
    ``LookupError`` for a way that leads nowhere.
    """
    match value:
        case str():
            whole = _REFERENCE.fullmatch(value)
            if whole:
                return at_place(saved, whole[1])
            return _REFERENCE.sub(lambda found: str(at_place(saved, found[1])), value)
        case dict():
            return {key: filled_in(one, saved) for key, one in value.items()}
        case list():
            return [filled_in(one, saved) for one in value]
        case _:
            return value


def at_place(value: Any, place: str) -> Any:
    """Return what lies at a place such as ``data.0.total``; ``length`` at the end counts a list.

    Raises ``LookupError`` if there is nothing.
    """
    for part in place.split("."):
        match value:
            case dict() if part in value:
                value = value[part]
            case list() if part == "length":
                value = len(value)
            case list() if part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            case _:
                raise LookupError(f"there is no {place}")
    return value
