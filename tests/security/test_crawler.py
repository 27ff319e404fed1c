"""No caller of one company sees, changes or learns of anything of another, through any route.

Every route of the API is called with what belongs to the other company in the place of the
caller's own, one place at a time: in the path, the query and the body. The answer must be, byte by
byte, what is answered for a name that nothing ever had.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final
from uuid import uuid4

import pytest
from django.test import Client

from apps.core.web.fields import ExternalIdField, IdField, StrictSerializer
from apps.core.web.views import Door
from apps.tenants.domain import Mode
from tests.make.tenants import PASSWORD
from tests.security.calls import CALLS, NAMES_NOTHING, Call
from tests.security.routes import API, METHODS, api_routes, routes
from tests.security.world import World, called, dump, filled, make_full, never, places

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S1", "S2", "B33", "T1")]

# filters by a value that is nobody's
VALUES: Final = frozenset(
    {
        "action",
        "actor",
        "before",
        "category",
        "country",
        "expires_before",
        "from",
        "settlement",
        "source",
        "created_before",
        "created_from",
        "currency",
        "effective_before",
        "effective_from",
        "email",
        "event_name",
        "kind",
        "name",
        "object_type",
        "opened_before",
        "opened_from",
        "outcome",
        "payment_provider_customer_id",
        "provider",
        "reason",
        "received_before",
        "received_from",
        "reference",
        "state",
        "status",
        "type",
        "tax",
    }
)


_DIGEST: Final = re.compile(r"[0-9a-f]{32,64}")  # of what was sent, which names differ in


# what is refused of one's own too, for what it is and not for whose it is
OWN_REFUSALS: Final = {
    "PATCH members/{member}": "last_owner",
    "DELETE members/{member}": "last_owner",
    "POST subscriptions/{subscription}/renew": "no_term",
    "POST subscriptions/{subscription}/uncancel": "no_cancellation",
    "GET invoices/{invoice}/lines/{line}/usage-events": "no_usage_behind",
    "POST invoices/{invoice}/pay in the body": "invoice_not_collectable",
    "POST invoices/{invoice}/charge": "invoice_not_collectable",
    "POST invoices/{invoice}/write-off": "invoice_not_collectable",
    "POST credit-grants/{grant}/refund": "grant_not_refundable",
    "POST disputes/{dispute}/win": "illegal_transition",  # it is lost by then
    "POST wallets/{wallet}/close": "wallet_in_use",
    "DELETE plans/{draft_plan}": "version_published",
    "PUT invoices/{invoice}": "invoice_immutable",
    "PATCH invoices/{invoice}": "invoice_immutable",
    "DELETE invoices/{invoice}": "invoice_immutable",
    "POST invoices/{invoice}/lines": "invoice_immutable",
    "PUT invoices/{invoice}/lines": "invoice_immutable",
    "PATCH invoices/{invoice}/lines": "invoice_immutable",
    "DELETE invoices/{invoice}/lines": "invoice_immutable",
}


@dataclass
class Caller:
    """Sends requests with credentials of the one company, and compares what is answered."""

    headers: Mapping[Mode, Mapping[str, str]]
    secret: World  # what must never be heard of
    client: Client = field(default_factory=Client)
    heard: list[str] = field(default_factory=list)
    sent: int = 0

    def answer(self, call: Call, names: Mapping[str, str]) -> tuple[int, str, str]:
        """Return status, headers and body, without what differs from request to request."""
        names = {**names, "new": uuid4().hex}
        body = b"" if call.body is None else json.dumps(filled(call.body, names)).encode()
        path = filled(call.path, names)
        headers = {**self.headers[call.mode], "X-Request-Id": "crawler"}
        if call.method != "GET":
            headers["Idempotency-Key"] = uuid4().hex
        response: Any = self.client.generic(
            call.method, f"/{API}{path}", body, content_type="application/json", headers=headers
        )
        self.sent += 1
        text = response.content.decode(errors="replace")
        self._listen(call, text, sent=f"{path} {body.decode()}")
        head = json.dumps(dict(response.headers), sort_keys=True)
        for place, name in names.items():
            text, head = text.replace(name, f"<{place}>"), head.replace(name, f"<{place}>")
        return response.status_code, head, _DIGEST.sub("<digest>", text)

    def _listen(self, call: Call, text: str, *, sent: str) -> None:
        said = [*self.secret.ids, *self.secret.words]
        self.heard += [f"{call}: {one}" for one in said if one in text and one not in sent]


def keyed(world: World, other: World) -> Caller:
    """Return a caller with API keys of the one company."""
    return Caller(
        {mode: {"Authorization": f"Bearer {key}"} for mode, key in world.keys.items()}, other
    )


def operator(world: World, other: World) -> Caller:
    """Return a caller with the token of an owner of the one company."""
    answer = Client().post(
        f"/{API}auth/login",
        {"email": world.member.operator.email, "password": PASSWORD},
        content_type="application/json",
    )
    token = answer.json()["token"]
    return Caller(
        {
            mode: {
                "Authorization": f"Bearer {token}",
                "X-Tenant": world.tenant.slug,
                "X-Mode": str(mode),
            }
            for mode in Mode
        },
        other,
    )


@pytest.fixture
def worlds() -> tuple[World, World]:
    return make_full("a"), make_full("b")


def cells(call: Call, own: World, other: World) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield every way to put one name of the other's among the caller's own: place, name, names."""
    found = [*places(call.path), *places(call.body)]
    mine = {place: own.names(place)[0] for place in found}
    for place in dict.fromkeys(found):
        for name in other.names(place):
            yield place, name, mine


def differences(
    caller: Caller, calls: Iterable[Call], own: World, other: World
) -> list[tuple[Any, ...]]:
    """Return every cell where a name of the other's is not answered as one that never was."""
    wrong: list[tuple[Any, ...]] = []
    for call in calls:
        for place, name, mine in cells(call, own, other):
            given = caller.answer(call, {**mine, place: name})
            expected = caller.answer(call, {**mine, place: never(name)})
            if given != expected or given[0] >= 500:
                wrong.append((str(call), place, name, given, expected))
    return wrong


def test_what_is_another_companys_is_as_what_never_was(worlds: tuple[World, World]) -> None:
    own, other = worlds
    before = dump(other.tenant)
    callers = [keyed(own, other), operator(own, other)]
    for caller in callers:
        assert differences(caller, CALLS, own, other) == []
        assert caller.heard == []
    assert dump(other.tenant) == before


def test_every_id_of_the_other_company_is_as_any_word_that_names_nothing(
    worlds: tuple[World, World],
) -> None:
    own, other = worlds
    before = dump(other.tenant)
    caller = keyed(own, other)
    kinds = {one.partition("_")[0]: one for one in other.ids}  # one id of each kind
    wrong = []
    # once per path: that what is done to it makes no difference, the test above has shown
    for call in {call.path.partition("?")[0]: call for call in CALLS}.values():
        for place in places(call.path.partition("?")[0]):
            mine = {one: own.names(one)[0] for one in (*places(call.path), *places(call.body))}
            expected = caller.answer(call, {**mine, place: never("x" * 30)})
            for name in kinds.values():
                given = caller.answer(call, {**mine, place: name})
                if given != expected or given[0] != 404:
                    wrong.append((str(call), place, name, given, expected))
    assert wrong == []
    assert caller.heard == []
    assert dump(other.tenant) == before


def test_any_method_on_any_path_of_another_companys(worlds: tuple[World, World]) -> None:
    own, other = worlds
    before = dump(other.tenant)
    caller = keyed(own, other)
    paths = {call.path.partition("?")[0]: call for call in CALLS if "{" in call.path}
    wrong = []
    for path, call in paths.items():
        mine = {place: own.names(place)[0] for place in places(path)}
        for place, method in product(mine, METHODS):
            tried = Call(method, path, mode=call.mode)
            name = other.names(place)[0]
            given = caller.answer(tried, {**mine, place: name})
            if given != caller.answer(tried, {**mine, place: never(name)}):
                wrong.append((str(tried), place, given))
    assert wrong == []
    assert dump(other.tenant) == before


def test_lists_and_the_rest_say_nothing_of_another_company(worlds: tuple[World, World]) -> None:
    own, other = worlds
    caller = keyed(own, other)
    told = [call.path.partition("?")[0] for call in CALLS if "{" not in call.path.partition("?")[0]]
    told += [path for _, path in NAMES_NOTHING]
    statuses = {path: caller.answer(Call("GET", path), {})[0] for path in sorted(set(told))}
    assert set(statuses.values()) <= {200, 405, 401}
    assert caller.heard == []


def test_the_same_calls_go_well_with_ones_own(worlds: tuple[World, World]) -> None:
    """Without this, calls that are refused for another reason would hold nothing."""
    own, other = worlds
    caller = keyed(own, other)
    refused = {}
    for call in CALLS:
        names = {place: own.names(place)[0] for place in (*places(call.path), *places(call.body))}
        status, _, text = caller.answer(call, names)
        if status >= 400:
            refused[str(call)] = json.loads(text)["reason"]
    assert refused == OWN_REFUSALS


def test_a_page_of_another_company_cannot_be_turned(worlds: tuple[World, World]) -> None:
    own, other = worlds
    theirs, mine = keyed(other, own), keyed(own, other)
    lists = [path for method, path, _ in api_routes() if method == "GET" and "{" not in path]
    turned = 0
    for path in lists:
        answer = json.loads(theirs.answer(Call("GET", f"{path}?limit=1"), {})[2])
        if not answer.get("next_cursor"):
            continue
        turned += 1
        stolen = mine.answer(Call("GET", f"{path}?cursor={{c}}"), {"c": answer["next_cursor"]})
        forged = mine.answer(
            Call("GET", f"{path}?cursor={{c}}"), {"c": never(answer["next_cursor"])}
        )
        assert stolen == forged
        assert (stolen[0], json.loads(stolen[2])["errors"][0]["code"]) == (400, "cursor_invalid")
    assert turned >= 12


def test_an_idempotency_key_of_another_company_is_a_new_one(worlds: tuple[World, World]) -> None:
    own, other = worlds
    clients = [(keyed(one, two), one) for one, two in ((own, other), (other, own))]
    made = []
    for caller, _ in clients:
        response: Any = caller.client.post(
            f"/{API}customers",
            {"name": "Same"},
            content_type="application/json",
            headers={**caller.headers[Mode.LIVE], "Idempotency-Key": "the-same"},
        )
        made.append((response.status_code, response.headers.get("Idempotent-Replayed")))
    assert made == [(201, None), (201, None)]


# --- the crawler itself -----------------------------------------------------------------------


def uncovered(found: Iterable[tuple[str, str, Any]]) -> list[tuple[str, str]]:
    """Return what the crawler would not call."""
    return sorted({(method, path) for method, path, _ in found} - called(CALLS) - NAMES_NOTHING)


def test_every_route_is_crawled() -> None:
    assert uncovered(api_routes()) == []


def test_a_route_without_a_row_shows() -> None:
    planted = ("POST", "customers/{pk}/forget", Door)
    assert uncovered([*api_routes(), planted]) == [("POST", "customers/{pk}/forget")]


def test_no_row_is_about_a_route_that_is_gone() -> None:
    known = {(method, path) for method, path, _ in api_routes()}
    assert NAMES_NOTHING - known == set()


def test_every_filter_is_crawled() -> None:
    asked = set()
    for call in CALLS:
        path, _, query = call.path.partition("?")
        asked.add((path, query.partition("=")[0]))
    missing = [
        (route.path, name)
        for route in routes()
        if getattr(route.view, "actions", {}).get("get") == "list"
        for name in route.view.cls.filters
        if name not in VALUES and (route.path.removeprefix(API), name) not in asked
    ]
    assert missing == []


def naming_fields(serializer: Any) -> set[str]:
    """Return the members of an input that name something by its id, or by its owner's name."""
    named = set()
    for name, one in serializer().fields.items():
        inner = getattr(one, "child", one)
        if isinstance(inner, IdField | ExternalIdField) or type(inner).__name__ == "NameField":
            named.add(name)
    return named


def inputs(kind: type = StrictSerializer) -> Iterator[type]:
    """Yield every input of the API."""
    for one in kind.__subclasses__():
        if one.__module__.startswith("apps."):
            yield one
        yield from inputs(one)


def test_every_name_in_a_body_is_crawled() -> None:
    given = {"external_id"}  # the name that its owner gives to what is made
    for call in CALLS:
        given |= set(re.findall(r'"(\w+)": \[?"\{', json.dumps(call.body)))
    missing = {
        (one.__name__, name) for one in inputs() for name in naming_fields(one) if name not in given
    }
    assert missing == set()
