"""Stories by date, many at once: all live on one test clock, and everything goes over HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pprint import pformat
from typing import Any, Final

from apps.backoffice.books import breaches
from apps.tenants.domain import Mode
from tests.make.api import Api
from tests.make.tenants import make_key, make_tenant

_PAGE: Final = 100


@dataclass(frozen=True)
class Act:
    """What is asked when the clock shows an instant, and the answer's status.

    ``path`` is below the subscription's, or begins with a slash.
    """

    at: str
    path: str
    body: Mapping[str, Any]
    status: int = 200


@dataclass(frozen=True)
class Story:
    """A subscription from its beginning, and every document that comes of it.

    ``subscription`` is the body that begins it, told when the clock shows ``told``. Documents are
    (instant of issue, total before tax).
    """

    subscription: Mapping[str, Any]
    acts: Sequence[Act]
    documents: Sequence[tuple[str, str]]
    told: str | None = None
    zone: str = "UTC"


def instant(text: str) -> str:
    """Return an instant as the API shows it; a day is its midnight in UTC."""
    return f"{text}T00:00:00Z" if len(text) == len("2026-01-01") else text


def change(at: str, verb: str, **body: Any) -> Act:
    """Return the act of changing the subscription."""
    return Act(at, "changes", {"verb": verb, **body})


def calls(at: str, value: str) -> Act:
    """Return the act of telling usage of the meter ``calls``, of that instant and at that instant."""
    return Act(at, "/events", {"event_name": "call", "timestamp": instant(at), "value": value}, 202)


def canceled(at: str, mode: str = "now", **body: str) -> Act:
    """Return the act of canceling the subscription."""
    return Act(at, "cancel", {"mode": mode, **body})


def seats(key: str, price: str, period: str, timing: str) -> dict[str, Any]:
    """Return a plan whose seats cost so much in each period."""
    charge = {
        "key": "seats",
        "timing": timing,
        "pricing": {"model": "per_unit", "unit_price": price},
    }
    return {"key": key, "name": key, "billing_period": period, "charges": [charge]}


# months of January cost 1.00 or 2.00 a day, and years 2.00
PLANS: Final = (
    seats("basic_adv", "31.00", "monthly", "advance"),
    seats("basic_arr", "31.00", "monthly", "arrears"),
    seats("pro_adv", "62.00", "monthly", "advance"),
    seats("pro_arr", "62.00", "monthly", "arrears"),
    seats("year_adv", "730.00", "yearly", "advance"),
    seats("year_arr", "730.00", "yearly", "arrears"),
)


def rows(table: str) -> list[list[str]]:
    """Return the words of each line of a table, without what follows a #."""
    return [line.partition("#")[0].split() for line in table.strip().splitlines()]


class Told:
    """A tenant in test mode whose clock begins at an instant, with plans."""

    def __init__(self, begins: str, plans: Sequence[Mapping[str, Any]]) -> None:
        self.tenant = make_tenant(mode=Mode.TEST)
        self.api = Api(make_key(self.tenant))
        clock = self.post("/test-clocks", {"name": "stories", "now": instant(begins)})
        self.clock = f"/test-clocks/{clock['id']}"
        self.post(f"{self.clock}/attach", {}, 200)
        self.post("/meters", {"key": "calls", "event_name": "call", "aggregation": "sum"})
        for plan in plans:
            self.post("/plans", {"currency": "USD", **plan})

    def post(self, path: str, body: Mapping[str, Any], status: int = 201) -> Any:
        """Post, and expect a status."""
        answer = self.api.post(path, body)
        assert answer.status_code == status, (path, body, answer.json())
        return answer.json()

    def advance(self, to: str) -> None:
        """Let the clock reach an instant, however many requests that takes."""
        while True:
            answer = self.api.post(f"{self.clock}/advance", {"to": instant(to)})
            assert answer.status_code in {200, 202}, answer.json()
            if answer.status_code == 200:
                assert answer.json()["status"] == "done"
                return

    def documents(self, customer: str) -> list[tuple[str, str]]:
        """Return when each document of a customer was issued, and what it comes to without tax."""
        page = self.api.get("/invoices", customer=customer, limit=_PAGE).json()
        assert not page["has_more"]
        return sorted((one["issued_at"], one["subtotal"]) for one in page["data"])


def tell(
    stories: Mapping[str, Story], plans: Sequence[Mapping[str, Any]], *, begins: str, until: str
) -> None:
    """Tell stories by their names, and compare every document; the books must be right."""
    world = Told(begins, plans)
    acts: list[tuple[str, str, str, Mapping[str, Any], int]] = []
    for name, story in stories.items():
        acts.append(
            (
                instant(story.told or begins),
                "",
                "/subscriptions",
                {"customer": name, "external_id": name, **story.subscription},
                201,
            )
        )
        for number, act in enumerate(story.acts):
            path, body = f"/subscriptions/{name}/{act.path}", act.body
            if act.path.startswith("/"):
                key = f"{name}-{number}"
                path, body = act.path, {**body, "subscription": name, "idempotency_key": key}
            acts.append((instant(act.at), name, path, body, act.status))
        customer = {"external_id": name, "name": name, "currency": "USD", "zone": story.zone}
        world.post("/customers", customer)
    shows = instant(begins)
    # at one instant those begin who are told then, and then changes in the order of their story
    for at, _, path, body, status in sorted(acts, key=lambda act: (act[0], bool(act[1]))):
        if at != shows:
            world.advance(at)
            shows = at
        world.post(path, body, status)
    world.advance(until)
    wrong = {}
    for name, story in stories.items():
        expected = [(instant(day), total) for day, total in story.documents]
        found = world.documents(name)
        if found != expected:
            wrong[name] = {"found": found, "expected": expected}
    assert wrong == {}, pformat(wrong)
    assert list(breaches(world.tenant.id)) == []
