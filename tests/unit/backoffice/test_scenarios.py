"""Scenario files: what is read, what is refused, and what a difference looks like."""

from typing import Any

import pytest

from apps.backoffice.scenarios.reading import (
    Advance,
    Call,
    Scenario,
    ScenarioInvalid,
    at_place,
    filled_in,
    read_scenario,
)
from apps.backoffice.scenarios.telling import Told, tell

GOOD = """
name: A month
clock: 2026-01-01
steps:
  - post: /customers
    body: {name: Acme, since: 2026-01-31T12:00:00+01:00}
    save: acme
    status: 201
  - advance: {months: 1}
    note: A month passes
  - advance: 2026-03-01
  - get: /invoices?customer=${acme.id}
    expect: {data.0.total: "49.00"}
"""


def test_a_file_is_read_with_its_dates_as_instants() -> None:
    assert read_scenario(GOOD) == Scenario(
        name="A month",
        about="",
        clock="2026-01-01T00:00:00Z",
        steps=(
            Call(
                "post",
                "/customers",
                {"name": "Acme", "since": "2026-01-31T11:00:00Z"},
                201,
                {},
                "acme",
            ),
            Advance({"by": {"months": 1}}, "A month passes"),
            Advance({"to": "2026-03-01T00:00:00Z"}),
            Call("get", "/invoices?customer=${acme.id}", expect={"data.0.total": "49.00"}),
        ),
    )


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[", ["this is no YAML"]),
        ("- 1", ["a scenario is a mapping with name and steps"]),
        ("{}", ["name: a text is needed", "steps: a list is needed, with at least one step"]),
        (
            "{name: x, colour: red, clock: soon, steps: []}",
            [
                "unknown: colour",
                "clock: an instant is needed, such as 2026-01-01T00:00:00Z",
                "steps: a list is needed, with at least one step",
            ],
        ),
        (
            "{name: x, steps: [1, {get: invoices}, {get: /a, post: /b}, {note: x}]}",
            [
                "step 1: a mapping is needed, such as {get: /invoices}",
                "step 2: get: a path below /api/v1 is needed, such as /invoices",
                "step 3: exactly one of get, post, put, patch, delete, advance is needed",
                "step 4: exactly one of get, post, put, patch, delete, advance is needed",
            ],
        ),
        (
            "{name: x, steps: [{advance: {days: 1}}]}",
            ["step 1: advance: the scenario has no clock"],
        ),
        (
            "{name: x, clock: 2026-01-01, steps: [{advance: 3}, {advance: {}, save: y}]}",
            [
                "step 1: advance: an instant, or a span such as {months: 1}, is needed",
                "step 2: unknown: save",
                "step 2: advance: an instant, or a span such as {months: 1}, is needed",
            ],
        ),
        (
            "{name: x, steps: [{get: '/a/${b.id}', body: {}, status: 7, save: B, expect: 1}]}",
            [
                "step 1: ${b.id} is not known here: nothing was saved as 'b' before",
                "step 1: body: a GET has none",
                "step 1: save: a name of a-z, 0-9 and _ is needed",
                "step 1: status: a number from 100 to 599 is needed",
                "step 1: expect: a mapping of places such as data.0.total to values is needed",
            ],
        ),
        (
            "{name: x, steps: [{post: '/a/${clock}'}]}",
            ["step 1: ${clock} is not known here: nothing was saved as 'clock' before"],
        ),
    ],
)
def test_everything_that_is_wrong_is_told_at_once(text: str, problems: list[str]) -> None:
    with pytest.raises(ScenarioInvalid) as caught:
        read_scenario(text)
    found = caught.value.problems
    assert len(found) == len(problems)
    assert all(one.startswith(start) for one, start in zip(found, problems, strict=True))


def test_references_are_filled_in() -> None:
    saved = {"acme": {"id": "cus_1", "tags": ["a", "b"], "count": 3}}
    assert filled_in({"x": ["${acme.count}", "/c/${acme.id}?n=${acme.count}"]}, saved) == {
        "x": [3, "/c/cus_1?n=3"]
    }
    assert at_place(saved, "acme.tags.length") == 2
    assert at_place(saved, "acme.tags.1") == "b"
    for place in ("acme.tags.2", "acme.name", "acme.id.x", "nobody"):
        with pytest.raises(LookupError):
            at_place(saved, place)


class Api:
    """Answers what it was told to, in turn, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []

    def send(self, method: str, path: str, body: Any, *, repeat_key: str) -> tuple[int, Any]:
        assert repeat_key
        self.asked.append((method, path, body))
        return self.answers.pop(0)


def told(text: str, *answers: tuple[int, Any], patience: float = 0.0) -> tuple[list[Told], Api]:
    api = Api(*answers)
    steps = tell(read_scenario(text), api.send, patience=patience, pause=lambda _: None)
    return list(steps), api


def test_steps_are_taken_in_order_on_the_scenario_s_clock() -> None:
    steps, api = told(
        GOOD,
        (201, {"id": "clk_1"}),
        (201, {"id": "cus_1"}),
        (202, {"status": "running"}),
        (200, {"status": "running"}),
        (200, {"status": "done"}),
        (200, {"status": "done"}),
        (200, {"data": [{"total": "49.00"}]}),
    )
    assert [(one.number, one.step, one.differences) for one in steps] == [
        (1, "POST /customers", ()),
        (2, "A month passes", ()),
        (3, "POST /test-clocks/clk_1/advance", ()),
        (4, "GET /invoices?customer=cus_1", ()),
    ]
    assert [one[:2] for one in api.asked] == [
        ("post", "/test-clocks"),
        ("post", "/customers"),
        ("post", "/test-clocks/clk_1/advance"),
        ("get", "/test-clocks/clk_1/advance"),
        ("get", "/test-clocks/clk_1/advance"),
        ("post", "/test-clocks/clk_1/advance"),
        ("get", "/invoices?customer=cus_1"),
    ]


@pytest.mark.parametrize(
    ("step", "answer", "difference"),
    [
        (
            "{post: /a}",
            (422, {"code": "x"}),
            'the answer is 422 instead of a success: {"code": "x"}',
        ),
        ("{post: /a, status: 409}", (200, {}), "the answer is 200 instead of 409: {}"),
        ("{post: /a, expect: {total: '2'}}", (200, {"total": "1"}), 'total is "1" instead of "2"'),
        ("{post: /a, expect: {b.0: 1}}", (200, {"b": []}), "there is no b.0; expected 1"),
    ],
)
def test_the_first_difference_ends_the_story(step: str, answer: Any, difference: str) -> None:
    steps, api = told(f"{{name: x, steps: [{step}, {{get: /never}}]}}", answer)
    assert [one.differences for one in steps] == [(difference,)]
    assert len(api.asked) == 1


def test_a_refusal_may_be_what_is_expected() -> None:
    steps, _ = told(
        "{name: x, steps: [{post: /a, status: 422, expect: {code: bad}}]}", (422, {"code": "bad"})
    )
    assert [one.differences for one in steps] == [()]


def test_what_is_read_may_take_its_time() -> None:
    text = "{name: x, steps: [{get: /a, expect: {n: 2}}]}"
    steps, api = told(text, (200, {"n": 1}), (404, {}), (200, {"n": 2}), patience=60)
    assert [one.differences for one in steps] == [()]
    assert len(api.asked) == 3


def test_a_clock_that_is_refused_ends_the_story() -> None:
    steps, _ = told(GOOD, (403, {"code": "no"}))
    assert [(one.number, one.differences) for one in steps] == [
        (0, ('the answer is 403: {"code": "no"}',))
    ]


def test_a_clock_that_fails_on_its_way_is_a_difference() -> None:
    text = "{name: x, clock: 2026-01-01, steps: [{advance: {days: 1}}]}"
    steps, _ = told(text, (201, {"id": "clk_1"}), (200, {"status": "failed"}))
    assert [one.differences for one in steps] == [('status is "failed" instead of "done"',)]
