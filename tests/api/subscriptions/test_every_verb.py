"""Every verb in every behaviour for the past, now and later: what it costs, or why it is refused.

The subscription costs 868 a month, ahead: 28 a day in January and March, 31 in February. It is the
15th of February, and all that was due is billed. Each cell below is what the preview says that the
change costs by its cutoff, and what it has cost by the first of April; or why it is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest
import time_machine
from django.db import transaction

from apps.catalog.domain import ProductKind
from apps.catalog.operations.lists import create_product
from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.subscriptions.invariants import RULES
from apps.subscriptions.models import PlanMigration, ScheduledChange, Subscription
from apps.subscriptions.operations import apply_due_changes
from tests.make.api import Api
from tests.make.catalog import make_offer, make_plan, make_price_list, make_version
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

Cell = tuple[str, str] | str


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


NOW: Final = on(2, 15)
APRIL: Final = on(4, 1)
TIMES: Final = {"past": "2026-01-16T00:00:00Z", "now": None, "later": "2026-03-17T00:00:00Z"}
BEHAVIOURS: Final = ("prorate", "none", "full_credit", "invoice_now", "next_period")

# of the verbs of /changes: what is asked for, and what was done before on the sixth of January
CHANGES: Final[Mapping[str, tuple[dict[str, Any], dict[str, Any] | None]]] = {
    "change_plan": ({"plan": "pro"}, None),
    "change_quantity": ({"quantity": "2"}, None),
    "change_prices": ({"price_list": "partner"}, None),
    "add_add_on": ({"add_on": "pack"}, None),
    "change_add_on": (
        {"add_on": "pack", "quantity": "2"},
        {"verb": "add_add_on", "add_on": "pack"},
    ),
    "remove_add_on": ({"add_on": "pack"}, {"verb": "add_add_on", "add_on": "pack"}),
    "pause": ({}, None),
    "suspend": ({}, None),
    "resume": ({}, {"verb": "pause"}),
    "extend_trial": ({"trial_ends_at": "2026-04-10T00:00:00Z"}, None),
}

# twice as much from then on: so many days of the month, or none, or all of it, and the months since
MORE: Final[dict[str, dict[str, Cell]]] = {
    "past": {
        "prorate": ("1316.00", "3052.00"),
        "none": ("868.00", "2604.00"),
        "full_credit": ("1736.00", "3472.00"),
        "invoice_now": ("1316.00", "3052.00"),
        "next_period": ("868.00", "2604.00"),
    },
    "now": {
        "prorate": ("434.00", "2170.00"),
        "none": ("0.00", "1736.00"),
        "full_credit": ("868.00", "2604.00"),
        "invoice_now": ("434.00", "2170.00"),
        "next_period": ("868.00", "1736.00"),
    },
    "later": {
        "prorate": ("420.00", "1288.00"),
        "none": ("0.00", "868.00"),
        "full_credit": ("868.00", "1736.00"),
        "invoice_now": ("420.00", "1288.00"),
        "next_period": ("868.00", "868.00"),
    },
}
LESS: Final[dict[str, dict[str, Cell]]] = {
    "past": {
        "prorate": ("-1316.00", "-3052.00"),
        "none": ("-868.00", "-2604.00"),
        "full_credit": ("-1736.00", "-3472.00"),
        "invoice_now": ("-1316.00", "-3052.00"),
        "next_period": ("-868.00", "-2604.00"),
    },
    "now": {
        "prorate": ("-434.00", "-2170.00"),
        "none": ("0.00", "-1736.00"),
        "full_credit": ("-868.00", "-2604.00"),
        "invoice_now": ("-434.00", "-2170.00"),
        "next_period": ("-868.00", "-1736.00"),
    },
    "later": {
        "prorate": ("-420.00", "-1288.00"),
        "none": ("0.00", "-868.00"),
        "full_credit": ("-868.00", "-1736.00"),
        "invoice_now": ("-420.00", "-1288.00"),
        "next_period": ("-868.00", "-868.00"),
    },
}


# of what was not there, or paused: no old terms have a period that could be left, or taken back
FROM_THEN_ON: Final[dict[str, dict[str, Cell]]] = {
    "past": {
        "prorate": ("1316.00", "3052.00"),
        "none": ("1316.00", "3052.00"),
        "full_credit": ("1316.00", "3052.00"),
        "invoice_now": ("1316.00", "3052.00"),
        "next_period": ("868.00", "2604.00"),
    },
    "now": {
        "prorate": ("434.00", "2170.00"),
        "none": ("434.00", "2170.00"),
        "full_credit": ("434.00", "2170.00"),
        "invoice_now": ("434.00", "2170.00"),
        "next_period": ("868.00", "1736.00"),
    },
    "later": {
        "prorate": ("420.00", "1288.00"),
        "none": ("420.00", "1288.00"),
        "full_credit": ("420.00", "1288.00"),
        "invoice_now": ("420.00", "1288.00"),
        "next_period": ("868.00", "868.00"),
    },
}


def alike(cell: Cell) -> dict[str, Cell]:
    return dict.fromkeys(BEHAVIOURS, cell)


def unbehaved(cell: Cell, refused: str) -> dict[str, Cell]:
    """Return cells of what has no behaviour."""
    return {**alike(refused), "": cell}


NOTHING: Final[Cell] = ("0.00", "0.00")
MATRIX: Final[dict[str, dict[str, dict[str, Cell]]]] = {
    "change_plan": MORE,
    "change_quantity": MORE,
    "change_prices": MORE,
    "add_add_on": FROM_THEN_ON,
    # it was added on the sixth of January: full_credit reaches back to there
    "change_add_on": {
        **MORE,
        "past": {**MORE["past"], "full_credit": ("1596.00", "3332.00")},
    },
    "remove_add_on": {
        **LESS,
        "past": {**LESS["past"], "full_credit": ("-1596.00", "-3332.00")},
    },
    "pause": LESS,
    "suspend": {when: alike(NOTHING) for when in TIMES},
    # paused since the sixth of January
    "resume": FROM_THEN_ON,
    # the first month is paid from the tenth of April on, not from the 22nd of March
    "extend_trial": {
        # the next period is the first that is paid: no trial runs then
        when: {**alike(("0.00", "-868.00")), "next_period": "409 change_refused"}
        for when in TIMES
    },
    "cancel": {
        when: {
            **{name: LESS[when][name] for name in ("prorate", "none", "full_credit")},
            "refund": LESS[when]["prorate"],
            "invoice_now": "400 invalid_choice",
            "next_period": "400 invalid_choice",
        }
        for when in TIMES
    },
    # of an end on the 17th of March; it is taken back at once, or not at all
    "uncancel": {
        "past": unbehaved("400 unknown_field", "400 unknown_field"),
        "now": unbehaved(("420.00", "1288.00"), "400 unknown_field"),
        "later": unbehaved("400 unknown_field", "400 unknown_field"),
    },
    # the term ends on the first of April, where the next one begins with a month
    "renew": {when: unbehaved(("868.00", "868.00"), "400 unknown_field") for when in TIMES},
    "migrate": {when: {**MORE[when], "next_period": "400 invalid_choice"} for when in TIMES},
}


def shop(verb: str) -> Api:
    """Return the API of a tenant whose subscription ``s`` the verb can be asked of."""
    with at(on(1, 1)):
        tenant = make_tenant()
        make_price_list(tenant, "partner")
        base = make_plan(tenant, [seats("868.00", partner="1736.00")], key="base", at=on(1, 1))
        make_plan(tenant, [seats("1736.00")], key="pro")
        trial = {"kind": "trial", "duration": {"unit": "day", "count": 80}, "charges": []}
        paid = {"kind": "evergreen", "charges": [seats("868.00")]}
        make_plan(tenant, phases=[trial, paid], key="tried")
        create_product(
            tenant.id,
            id=new_id(),
            key="storage",
            name="Storage",
            kind=ProductKind.ADD_ON,
            actor=ACTOR,
            at=on(1, 1),
        )
        make_plan(tenant, [seats("868.00")], key="pack", product="storage")
        make_offer(tenant, {"plan": "base"}, "storage")
        make_customer(tenant, external_id="acme", zone="UTC")
        api = Api(make_key(tenant))
        body: dict[str, Any] = {"customer": "acme", "external_id": "s", "start_date": "2026-01-01"}
        body["plan"] = "tried" if verb == "extend_trial" else "base"
        if verb == "renew":
            body |= {"term": {"unit": "month", "count": 3}, "auto_renew": False}
        assert api.post("/subscriptions", body).status_code == 201
        make_version(base, [seats("1736.00")], at=on(1, 1))
        close(on(1, 1))
    with at(on(1, 6)):
        before = CHANGES.get(verb, (None, None))[1]
        if before is not None:
            assert api.post("/subscriptions/s/changes", before).status_code == 200
        if verb == "uncancel":
            ends = {"mode": "date", "ends_at": TIMES["later"]}
            assert api.post("/subscriptions/s/cancel", ends).status_code == 200
    close(on(2, 1))
    close(NOW)
    return api


def seats(price: str, *, partner: str | None = None) -> dict[str, Any]:
    prices = [{"currency": "USD", "pricing": {"model": "per_unit", "unit_price": price}}]
    if partner is not None:
        pricing = {"model": "per_unit", "unit_price": partner}
        prices.append({"currency": "USD", "price_list": "partner", "pricing": pricing})
    return {"key": "seats", "timing": "advance", "prices": prices}


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    with time_machine.travel(instant, tick=False):
        yield


@contextmanager
def forgotten() -> Iterator[None]:
    """Undo in the database what is done meanwhile."""
    mark = transaction.savepoint()
    yield
    transaction.savepoint_rollback(mark)


def close(when: datetime) -> Decimal:
    """Do what is due by then, and return what the documents of this run come to."""
    before = set(Invoice.objects.values_list("id", flat=True))
    apply_due_changes(when)
    close_due(when, actor=ACTOR)
    made = Invoice.objects.exclude(id__in=before)
    assert [line for rule in RULES for line in rule(None)] == []
    return sum((one.total.amount for one in made), Decimal(0))


def ask(api: Api, verb: str, when: str, behaviour: str, *, preview: bool) -> Any:
    """Ask for the verb as of then in that behaviour, and return the answer."""
    instant, query = TIMES[when], "?preview=true" if preview else ""
    body: dict[str, Any] = {} if instant is None else {"effective_at": instant}
    path = f"/subscriptions/s/{verb}"
    if verb == "cancel":
        ends = {"mode": "now"} if instant is None else {"mode": "date", "ends_at": instant}
        body = {**ends, "settlement": behaviour}
    elif behaviour:
        body["behaviour"] = behaviour
    if verb == "migrate":
        path = "/plan-migrations"
        body |= {"plan": "base", "from_version": 1}
    elif verb in CHANGES:
        path = "/subscriptions/s/changes"
        body |= {"verb": verb, **CHANGES[verb][0]}
    with at(NOW):
        answer = api.post(path + query, body)
        if verb == "migrate" and answer.status_code == 201 and not preview:
            run_due(tenant_id=PlanMigration.objects.get().tenant_id)
    return answer


def billed(
    api: Api, cutoff: datetime, change: Callable[[], Any] = lambda: None
) -> tuple[Decimal, Decimal]:
    """Return what is billed by the cutoff once that was done, and by April."""
    with forgotten():
        before = set(Invoice.objects.values_list("id", flat=True))
        change()
        apply_due_changes(cutoff)
        with at(cutoff):  # without waiting for the next period, which bills what is prorated too
            made = api.post(
                "/invoices", {"customer": "acme", "cutoff": f"{cutoff:%Y-%m-%dT%H:%M:%SZ}"}
            )
        assert made.status_code in {200, 201}, made.json()
        documents = Invoice.objects.exclude(id__in=before)
        by_cutoff = sum((one.total.amount for one in documents), Decimal(0))
        return by_cutoff, by_cutoff + (close(APRIL) if cutoff < APRIL else 0)


def found(api: Api, verb: str, when: str, behaviour: str) -> Cell:
    """Return what came of a cell, having seen that the preview tells what is then billed."""
    asked = (api, verb, when, behaviour)
    stored = (ScheduledChange.objects.count(), PlanMigration.objects.count())
    told = ask(*asked, preview=True)
    assert (ScheduledChange.objects.count(), PlanMigration.objects.count()) == stored
    if told.status_code not in {200, 201}:
        refused = ask(*asked, preview=False)
        assert reason(refused) == reason(told)
        return reason(told)
    preview = told.json()
    row = preview["subscriptions"][0] if verb == "migrate" else preview
    cutoff = datetime.fromisoformat(preview["cutoff"])

    def do() -> None:
        done = ask(*asked, preview=False)
        assert done.status_code == (201 if verb == "migrate" else 200), done.json()

    otherwise, otherwise_by_april = billed(api, cutoff)
    total, by_april = billed(api, cutoff, do)
    assert (Decimal(row["total"]), Decimal(row["otherwise"])) == (total, otherwise)
    assert Decimal(row["difference"]) == total - otherwise
    return row["difference"], f"{by_april - otherwise_by_april:.2f}"


def reason(answer: Any) -> str:
    body = answer.json()
    reasons = {one["code"] for one in body.get("errors", ())} or {body["reason"]}
    return f"{answer.status_code} {' '.join(sorted(reasons))}"


@pytest.mark.parametrize("verb", MATRIX)
def test_a_verb_costs_what_its_preview_tells_or_is_refused(verb: str) -> None:
    api = shop(verb)
    expected = {
        (when, behaviour): cell
        for when, cells in MATRIX[verb].items()
        for behaviour, cell in cells.items()
    }

    came = {(when, behaviour): found(api, verb, when, behaviour) for when, behaviour in expected}

    assert came == expected
    assert Subscription.objects.get().changed_from is None  # nothing of all this was kept
