"""Telling a scenario to an installation, over HTTP as any other program would."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from apps.backoffice.scenarios.reading import Advance, Call, Scenario, at_place, filled_in
from apps.core.ids import new_id

_PAUSE: Final = 0.2  # seconds until an answer that is not yet as expected is asked for again
_TIMEOUT: Final = 60
_OK: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Told:
    """One step that was taken: what it was, and what was not as expected."""

    number: int
    step: str
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls ``<url>/api/v1`` with a key of a tenant in test mode."""

    url: str
    key: str

    def send(self, method: str, path: str, body: Any, *, repeat_key: str) -> tuple[int, Any]:
        """Return status and JSON of the answer; raise ``OSError`` if there is none."""
        request = urllib.request.Request(  # noqa: S310 -- the address is the operator's own
            f"{self.url.rstrip('/')}/api/v1{path}",
            method=method.upper(),
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.key}",
                "Content-Type": "application/json",
                "Idempotency-Key": repeat_key,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 -- as above
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")


def tell(
    scenario: Scenario,
    call: Callable[..., tuple[int, Any]],
    *,
    patience: float,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Told]:
    """Take the steps in order and yield each as it was taken; the first that differs is the last.

    What a GET reads may follow from a job that is still to come: until it is as expected it is
    asked again, for ``patience`` seconds. ``call`` is ``Caller.send``. Every run has names of its
    own in ``${run}``, so that a scenario can be told any number of times. Raises ``OSError``.
    """
    run = new_id().hex[-12:]
    saved: dict[str, Any] = {"run": run}
    if scenario.clock is not None:
        status, clock = call(
            "post",
            "/test-clocks",
            {"name": f"{scenario.name} {run}"[:100], "now": scenario.clock},
            repeat_key=f"{run}-clock",
        )
        if status not in _OK:
            yield Told(0, "the clock", (f"the answer is {status}: {_short(clock)}",))
            return
        saved["clock"] = clock["id"]
    teller = _Teller(call, patience, pause, saved)
    for number, step in enumerate(scenario.steps, start=1):
        told = teller.take(number, step)
        yield told
        if told.differences:
            return


@dataclass(frozen=True, slots=True)
class _Teller:
    """How steps are taken, and what they have saved."""

    call: Callable[..., tuple[int, Any]]
    patience: float
    pause: Callable[[float], None]
    saved: dict[str, Any]

    def take(self, number: int, step: Call | Advance) -> Told:
        advances = isinstance(step, Advance)
        if isinstance(step, Advance):
            step = Call(
                "post",
                "/test-clocks/${clock}/advance",
                step.body,
                expect={"status": "done"},
                note=step.note,
            )
        key = f"{self.saved['run']}-{number}"
        try:
            path, body = filled_in(step.path, self.saved), filled_in(step.body, self.saved)
            expect = filled_in(dict(step.expect), self.saved)
        except LookupError as error:
            return Told(number, f"{step.method.upper()} {step.path}", (str(error),))
        name = step.note or f"{step.method.upper()} {path}"
        end = time.monotonic() + self.patience
        status, answer = self.call(step.method, path, body, repeat_key=key)
        while advances and status in _OK and answer["status"] == "running":
            self.pause(_PAUSE)
            status, answer = self.call("get", path, None, repeat_key=key)
        differences = _differences(status, answer, step.status, expect)
        while differences and step.method == "get" and time.monotonic() < end:
            self.pause(_PAUSE)
            status, answer = self.call(step.method, path, body, repeat_key=key)
            differences = _differences(status, answer, step.status, expect)
        if step.save is not None:
            self.saved[step.save] = answer
        return Told(number, name, tuple(differences))


def _differences(
    status: int, answer: Any, expected: int | None, expect: dict[str, Any]
) -> list[str]:
    if status != expected and (expected is not None or status not in _OK):
        wanted = "a success" if expected is None else str(expected)
        return [f"the answer is {status} instead of {wanted}: {_short(answer)}"]
    found = []
    for place, value in expect.items():
        try:
            actual = at_place(answer, place)
        except LookupError as error:
            found.append(f"{error}; expected {_short(value)}")
            continue
        if actual != value:
            found.append(f"{place} is {_short(actual)} instead of {_short(value)}")
    return found


def _short(value: Any, longest: int = 300) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[:longest]}…"
