"""The arithmetic that judges the product, held to the worked examples of the documentation."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest

from apps.backoffice.simulation.contested import DisputeFact
from apps.backoffice.simulation.facts import (
    AgreedFact,
    AmendmentFact,
    ChangeFact,
    ContractFact,
    CouponFact,
    CreditFacts,
    EventFact,
    Facts,
    GrantFact,
    HoldFact,
    LevyFact,
    PlaceFact,
    RedemptionFact,
    SubscriptionFact,
    TakenFact,
    WalletFact,
)
from apps.backoffice.simulation.oracle.clawing import Claim, Clawing, Paid, Reclaim, Sale
from apps.backoffice.simulation.oracle.credit import Books, Entry, Purse
from apps.backoffice.simulation.oracle.disputes import moved_by_disputes
from apps.backoffice.simulation.oracle.levies import Levying, Paper, PaperLine
from apps.backoffice.simulation.oracle.lines import lines_of
from apps.backoffice.simulation.oracle.pacts import Spent, agreed_price, settlements
from apps.backoffice.simulation.oracle.rebates import Owed, take_off
from apps.backoffice.simulation.oracle.savings import Bill, Savings
from apps.backoffice.simulation.oracle.timeline import life

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MONTH = {"unit": "month", "count": 1}


def subscribed() -> SubscriptionFact:
    return SubscriptionFact(
        id=UUID(int=1),
        customer=UUID(int=2),
        tenant=UUID(int=3),
        plan={},
        currency="USD",
        zone="UTC",
        started_at=APRIL,
        calendar_aligned=False,
        anchor_day=None,
        quantity=1,
        price_list=None,
        trial_days=None,
        term_months=None,
        auto_renew=False,
        basis="second",
    )


def coupon(told: str) -> CouponFact:
    if told.endswith("%"):
        return CouponFact(told, percentage=Decimal(told[:-1]))
    return CouponFact(told, amounts={"USD": Decimal(told)})


def owed(amount: str, fact: SubscriptionFact, begins: datetime = APRIL) -> Owed:
    return Owed(fact, "base", begins, begins, Fraction(amount), 2, {})


@pytest.mark.parametrize(
    ("coupons", "charges", "left"),
    [
        ("10%", "49.00 30.05", "44.10 27.04"),
        ("20.00", "49.00 30.00", "36.59 22.41"),
        ("10% 20.00", "49.00 30.00", "32.93 20.17"),
        ("10% 50%", "100.00", "45.00"),
        ("100.00", "49.00 30.00", "0.00 0.00"),
        ("100% 20.00", "49.00 0.00", "0.00 0.00"),
        ("10.00 15.00", "20.00", "0.00"),
    ],
)
def test_coupons_leave_what_is_documented(coupons: str, charges: str, left: str) -> None:
    fact = subscribed()
    redeemed = [
        RedemptionFact(UUID(int=place), str(place), coupon(told), fact.id, APRIL, MONTH)
        for place, told in enumerate(coupons.split())
    ]
    pieces = [owed(amount, fact) for amount in charges.split()]
    take_off(pieces, redeemed)
    assert [f"{float(one.left):.2f}" for one in pieces] == left.split()


def test_a_coupon_for_two_periods_leaves_the_third_alone() -> None:
    fact = subscribed()
    twice = CouponFact("twice", percentage=Decimal(50), periods=2)
    pieces = [owed("10.00", fact, datetime(2026, month, 1, tzinfo=UTC)) for month in (4, 5, 6)]
    take_off(pieces, [RedemptionFact(UUID(int=9), "r", twice, fact.id, APRIL, MONTH)])
    assert [one.left for one in pieces] == [5, 5, 10]


@pytest.mark.parametrize(
    ("rate", "places", "billed", "taxes"),
    [
        ("19", 2, "100.00", "19.00"),
        ("19", 2, "0.50 -0.05 -0.03 0.01 -0.43", "0.10 -0.01 -0.01 0.00 -0.08"),
        ("19", 2, "100.00 -33.33 -33.33 -33.34", "19.00 -6.33 -6.34 -6.33"),
        ("8.875", 2, "49.00 -49.00", "4.35 -4.35"),
        ("10", 0, "105 -52 -53", "11 -6 -5"),
    ],
)
def test_corrections_have_the_documented_tax(
    rate: str, places: int, billed: str, taxes: str
) -> None:
    first = UUID(int=0)
    papers = [
        Paper(
            id=UUID(int=100 + number),
            name=f"document {number}",
            places=places,
            issued=number,
            canceled=None,
            tax=Fraction(tax),
            lines=[
                PaperLine(
                    UUID(int=number), first if number else None, APRIL, APRIL, Fraction(amount)
                )
            ],
        )
        for number, (amount, tax) in enumerate(zip(billed.split(), taxes.split(), strict=True))
    ]
    levies = [LevyFact("vat", "vat", Decimal(rate), "DE")]
    assert list(Levying(levies, PlaceFact("DE"), per_line=False).differences(papers)) == []


@pytest.mark.parametrize(("canceled", "tax"), [(2, "0.00"), (4, "0.01")])
def test_tax_counts_what_stands_when_a_document_is_issued(canceled: int, tax: str) -> None:
    def paper(issued: int, amount: str, tax: str, canceled: int | None = None) -> Paper:
        corrects = UUID(int=0) if issued else None
        line = PaperLine(UUID(int=issued), corrects, APRIL, APRIL, Fraction(amount))
        name = f"document {issued}"
        return Paper(UUID(int=100 + issued), name, 2, issued, canceled, Fraction(tax), [line])

    # 1.03 have 0.10, and 1.06 have 0.11
    papers = [paper(0, "1.00", "0.10"), paper(1, "0.03", "0.00", canceled), paper(3, "0.03", tax)]
    levies = [LevyFact("vat", "vat", Decimal(10), "DE")]
    assert list(Levying(levies, PlaceFact("DE"), per_line=False).differences(papers)) == []


def test_what_is_undone_counts_again_and_what_it_brought_in_does_not() -> None:
    facts = Facts(APRIL)
    facts.events = [
        EventFact(number, UUID(int=2), None, "call", APRIL, APRIL, Decimal(1), {})
        for number in range(3)
    ]
    replaced = AmendmentFact(UUID(int=5), APRIL, taken=frozenset({0}), brought=frozenset({2}))
    undone = AmendmentFact(UUID(int=6), APRIL, undoes=replaced)
    again = AmendmentFact(UUID(int=7), APRIL, undoes=undone)

    def counting(*amendments: AmendmentFact) -> list[int]:
        facts.amendments = list(amendments)
        return [one.number for one in facts.counting()]

    assert counting() == [0, 1, 2]
    assert counting(replaced) == [1, 2]
    assert counting(replaced, undone) == [0, 1]
    assert counting(replaced, undone, again) == [1, 2]


def disputed(amount: int, beyond: int, fee: int = 0, *, won: bool | None) -> DisputeFact:
    return DisputeFact(
        id=UUID(int=3),
        name="a dispute",
        payment=UUID(int=1),
        customer=UUID(int=2),
        provider="sandbox",
        currency="USD",
        amount=Decimal(amount),
        beyond=Decimal(beyond),
        fee=Decimal(fee),
        opened_at=APRIL,
        by_hand=True,
        is_won=won,
    )


def test_disputes_move_what_is_documented() -> None:
    told = [
        disputed(40, 10, 15, won=True),
        disputed(30, 10, won=False),
        disputed(55, 0, won=None),
    ]
    assert moved_by_disputes(told) == {
        # of 110.00 that came in, and 25.00 that were paid back
        ("cash_clearing", "sandbox", "USD"): -15 - (110 - 25),
        ("provider_fees", None, "USD"): 15,
        ("disputes", None, "USD"): 55,
        ("bad_debt", None, "USD"): 20,
        ("customer", UUID(int=2), "USD"): 10,
    }


# --- credit ----------------------------------------------------------------------------------------

WALLET, GRANT, INVOICE, SPENT, LESS = (UUID(int=number) for number in range(11, 16))
DAYS = [APRIL + timedelta(days=number) for number in range(5)]
HIS_WALLET = WalletFact(
    id=WALLET,
    customer=UUID(int=2),
    zone="UTC",
    rate=None,
    places=2,
    currency="USD",
    priority=50,
    on_event=False,
    policy="overdraft",
    limit=Decimal(0),
    meters=(),
    top_off=None,
    opened_at=APRIL,
)
BOUGHT_GRANT = GrantFact(
    id=GRANT,
    wallet=WALLET,
    paid=True,
    amount=Decimal(10),
    value=Decimal(10),
    priority=50,
    meters=(),
    begins_at=APRIL,
    expires_at=None,
    lasts_months=None,
    asked_at=APRIL,
)


def saved(
    told: str, *, won: bool | None = None, lends: int = 0, back: int = 0
) -> tuple[list[str], Books]:
    """Let 10.00 be bought, 7.00 used, and the money disputed, or go ``back`` by a memo.

    Later 2.00 are taken off by an operator, if that is told, or the rest was refunded before.
    """
    taken = [TakenFact(SPENT, WALLET, Decimal(7), "", DAYS[1])]
    if "refund -3 grant 1" in told:
        taken.append(TakenFact(LESS, GRANT, None, "", DAYS[1]))
    credit = CreditFacts(
        wallets=[replace(HIS_WALLET, limit=Decimal(lends))],
        grants={GRANT: BOUGHT_GRANT},
        taken={one.id: one for one in taken},
        adjusted={LESS: TakenFact(LESS, WALLET, Decimal(2), "", DAYS[4])} if "void" in told else {},
    )
    sources = {"consume": f"spend {SPENT}", "void": f"adjust {LESS}"}
    log = []
    for one in told.split(", "):
        kind, amount, of, day = one.split()
        figure = Fraction(amount)
        log.append(
            Entry(
                kind,
                GRANT if of == "grant" else None,
                None,
                None,
                None,
                ("case:credit" if back else "case 1")
                if int(day) in {2, 3}
                else sources.get(kind, ""),
                figure,
                figure,
                Fraction(0),
                DAYS[int(day)],
            )
        )
    books = Books()
    purse = Purse(credit.wallets[0], log, books)
    sale = Sale(INVOICE, GRANT, Fraction(10), Fraction(10), 2)
    claim = Claim(
        name="case",
        amount=Fraction(10),
        opens_at=DAYS[2],
        is_won=won,
        ends_at=None if won is None else DAYS[3],
        paid=[Paid(APRIL, sale, Fraction(10))],
    )
    bill = Bill(
        id=INVOICE,
        currency="USD",
        unit=Fraction(1, 100),
        issued_at=APRIL,
        canceled_at=None,
        is_paid=True,
        sells=GRANT,
        total=Fraction(10),
        covered=Fraction(0),
        lines=(),
    )
    memo = Reclaim("case", GRANT, Fraction(back), DAYS[1], DAYS[2])
    clawing = Clawing([purse], [] if back else [claim], [], [memo] if back else [])
    savings = Savings(credit, [purse], [], [bill], {}, clawing=clawing)
    return list(savings.differences(DAYS)), books


BOUGHT = "grant 10 grant 0, consume -7 grant 1, dispute -3 grant 2"


@pytest.mark.parametrize(
    ("told", "won", "lends", "moved"),
    [
        (BOUGHT, None, 0, {"disputes": -3, "credit_liability": 0}),
        (f"{BOUGHT}, consume -4 none 2", None, 4, {"disputes": -7, "credit_liability": 4}),
        (f"{BOUGHT}, reinstate 3 grant 3", True, 0, {"disputes": 0, "credit_liability": -3}),
        (
            f"{BOUGHT}, consume -4 none 2, return 4 none 3, reinstate 3 grant 3",
            True,
            4,
            {"disputes": 0, "credit_liability": -3},
        ),
        (BOUGHT, False, 0, {"disputes": 0, "bad_debt": -3}),
        (
            f"{BOUGHT}, reinstate 3 grant 3, void -2 grant 4",
            True,
            0,
            {"credit_liability": -1, "breakage": -2},
        ),
    ],
)
def test_credit_follows_its_money(
    told: str, *, won: bool | None, lends: int, moved: dict[str, int]
) -> None:
    wrong, books = saved(told, won=won, lends=lends)
    assert wrong == []
    assert {kind: books.accounts[kind] for kind in moved} == moved
    assert books.accounts["revenue"] == -7


@pytest.mark.parametrize(
    ("told", "won", "lends"),
    [
        ("grant 10 grant 0, consume -7 grant 1", None, 0),
        (BOUGHT, None, 4),
        (BOUGHT, True, 0),
        (f"{BOUGHT}, reinstate 3 grant 3", None, 0),
        (f"{BOUGHT}, reinstate 2 grant 3", True, 0),
        (BOUGHT.replace("-3", "-2"), None, 0),
    ],
)
def test_credit_that_does_not_follow_its_money_is_found_out(
    told: str, *, won: bool | None, lends: int
) -> None:
    assert len(saved(told, won=won, lends=lends)[0]) == 1


@pytest.mark.parametrize(
    ("won", "ends", "begins", "takes"),
    [
        (None, None, 0, [1]),
        (None, None, 3, [1, 3]),  # the rest of the price was paid only then
        (False, 2, 0, [1, 2]),
        (False, 2, 3, [1, 2, 3]),
        (True, 2, 3, [1]),
        (True, 4, 3, [1, 3]),
        (True, 1, 3, []),
    ],
)
def test_credit_is_taken_once_there_is_any(
    *, won: bool | None, ends: int | None, begins: int, takes: list[int]
) -> None:
    sale = Sale(INVOICE, GRANT, Fraction(10), Fraction(10), 2)
    claim = Claim(
        name="case",
        amount=Fraction(4),
        opens_at=DAYS[1],
        is_won=won,
        ends_at=None if ends is None else DAYS[ends],
        paid=[Paid(APRIL, sale, Fraction(4))],
    )
    assert claim.takes_at({GRANT: DAYS[begins]}) == [DAYS[day] for day in takes]


@pytest.mark.parametrize(
    ("told", "lends", "back", "moved"),
    [
        ("refund -3 grant 2", 0, 10, {"credit_liability": 0, "refunds": 7, "customer": -10}),
        ("refund -2 grant 2", 0, 2, {"credit_liability": -1, "refunds": 0, "customer": -2}),
        (
            "refund -3 grant 2, consume -1 none 2",
            4,
            4,
            {"credit_liability": 1, "refunds": 0, "customer": -4},
        ),
    ],
)
def test_credit_goes_back_with_its_price(
    told: str, lends: int, back: int, moved: dict[str, int]
) -> None:
    before = "grant 10 grant 0, consume -7 grant 1"
    wrong, books = saved(f"{before}, {told}", lends=lends, back=back)
    assert wrong == []
    assert {kind: books.accounts[kind] for kind in moved} == moved
    assert len(saved(before, lends=lends, back=back)[0]) == 1


def test_a_refund_gives_no_more_of_a_price_than_is_left_of_it() -> None:
    told = "grant 10 grant 0, consume -7 grant 1, refund -3 grant 1"
    wrong, books = saved(told, back=8)
    assert wrong == []
    # 2 of 3 go back, and 1 was lost once less; then 8 are, for which nothing is left
    assert books.accounts["refunds"] == -1 + 8
    assert books.accounts["customer"] == -10
    assert books.accounts["credit_liability"] == 0


@pytest.mark.parametrize(
    ("log", "wrong"),
    [
        ("first second", 0),
        ("second first", 0),  # the first could not be ended until then
        ("first", 1),
        ("second second", 1),
    ],
)
def test_holds_that_are_over_come_back_in_any_order(log: str, wrong: int) -> None:
    holds = {
        name: HoldFact(UUID(int=number), WALLET, Decimal(number), "", DAYS[2], DAYS[1])
        for name, number in (("first", 2), ("second", 3))
    }
    given = replace(BOUGHT_GRANT, paid=False)
    credit = CreditFacts(
        wallets=[HIS_WALLET],
        grants={GRANT: given},
        holds={one.id: one for one in holds.values()},
    )

    def entry(kind: str, amount: Decimal, day: int, hold: HoldFact | None = None) -> Entry:
        figure, value = Fraction(amount), Fraction(0 if hold else amount)
        named = hold.id if hold else None
        return Entry(kind, GRANT, named, None, None, "", figure, value, Fraction(0), DAYS[day])

    told = [
        entry("grant", given.amount, 0),
        *[entry("hold", -one.amount, 1, one) for one in holds.values()],
        *[entry("release", holds[name].amount, 3, holds[name]) for name in log.split()],
    ]
    purse = Purse(HIS_WALLET, told, Books())
    clawing = Clawing([purse], [], [])
    savings = Savings(credit, [purse], [], [], {}, clawing=clawing)
    assert len(list(savings.differences([*DAYS[:2], DAYS[3]]))) == wrong


SEATS = {
    "key": "units",
    "period": MONTH,
    "prices": [{"currency": "USD", "pricing": {"model": "per_unit", "unit_price": "31"}}],
}
SET_UP = {
    "key": "set-up",
    "kind": "fixed",
    "prices": [{"currency": "USD", "pricing": {"model": "flat", "amount": "5.00"}}],
}


def phased(key: str, *phases: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "phases": list(phases)}


LASTING = phased("lasting", {"kind": "evergreen", "charges": [SEATS, SET_UP]})
TRIED = phased(
    "tried",
    {"kind": "trial", "duration": {"unit": "day", "count": 10}, "charges": []},
    {"kind": "evergreen", "charges": [SEATS, SET_UP]},
)


def on(day: int) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC)


def having(*changes: ChangeFact) -> SubscriptionFact:
    base = phased("base", {"kind": "evergreen", "charges": [SEATS]})
    return replace(subscribed(), plan=base, started_at=on(1), changes=list(changes))


def asked(verb: str, day: int, key: str = "lasting", **more: Any) -> ChangeFact:
    plan = {"lasting": LASTING, "tried": TRIED}[key] if verb == "add_add_on" else None
    given = {"settlement": "prorate", "plan": plan, "add_on": key, **more}
    return ChangeFact(UUID(int=10 + day), verb, on(day), **given)


@pytest.mark.parametrize(
    ("changes", "billed"),
    [
        ([asked("add_add_on", 11, quantity=1)], 5 + 21),
        ([asked("add_add_on", 1, quantity=1), asked("remove_add_on", 11)], 5 + 10),
        ([asked("add_add_on", 1, quantity=1), asked("remove_add_on", 11, settlement="none")], 36),
        (
            [
                asked("add_add_on", 1, quantity=1),
                asked("remove_add_on", 11, settlement="full_credit"),
            ],
            5,
        ),
        (
            [
                asked("add_add_on", 6, quantity=3),
                asked("change_add_on", 11, quantity=2),
                asked("change_add_on", 21, quantity=7),
            ],
            5 + 15 + 20 + 77,
        ),
        # in its phases by the calendar, or anew
        (
            [
                asked("add_add_on", 2, "tried", quantity=1),
                asked("remove_add_on", 7, "tried"),
                asked("add_add_on", 22, "tried", quantity=1),
            ],
            5 + 10,
        ),
        (
            [
                asked("add_add_on", 1, quantity=1),
                asked("remove_add_on", 6),
                asked("add_add_on", 11, quantity=1),
            ],
            5 + 5 + 21,
        ),
        (
            [
                asked("add_add_on", 1, quantity=1),
                asked("remove_add_on", 6),
                asked("add_add_on", 11, quantity=1, from_change=True),
            ],
            5 + 5 + 5 + 21,
        ),
        (
            [
                asked("add_add_on", 1, quantity=1),
                ChangeFact(UUID(int=9), "pause", on(11), "prorate"),
                ChangeFact(UUID(int=8), "resume", on(21), "prorate"),
            ],
            5 + 10 + 11,
        ),
    ],
)
def test_add_ons_cost_what_is_documented(changes: list[ChangeFact], billed: int) -> None:
    facts = Facts(on(1), subscriptions=[having(*changes)])
    lines = lines_of(facts, on(31))
    assert sum(amount for key, amount in lines.items() if key.plan != "base") == billed


def test_a_plan_to_which_it_is_not_offered_removes_an_add_on() -> None:
    pro = phased("pro", {"kind": "evergreen", "charges": [SEATS]})
    moved = ChangeFact(UUID(int=9), "change_plan", on(11), "prorate", plan=pro)
    for offers, billed in (({("pro", "lasting")}, 36), (set[tuple[str, str]](), 15)):
        fact = having(asked("add_add_on", 1, quantity=1), moved)
        lines = lines_of(Facts(on(1), subscriptions=[fact], offers=offers), on(31))
        assert sum(amount for key, amount in lines.items() if key.plan == "lasting") == billed


@pytest.mark.parametrize(
    ("part", "charged", "factor", "billed"),
    [
        (3, "59.00", "1", "41.00 0.00"),
        (3, "120.00", "1", "0.00 0.00"),
        (3, "120.00", "1.5", "0.00 10.00"),
        (3, "100.00", "1.5", "0.00 0.00"),
        (1, "10.00", "1.5", "23.33 0.00"),
        (1, "40.00", "1.25", "0.00 1.67"),
    ],
)
def test_a_commitment_of_100_comes_to_what_is_documented(
    part: int, charged: str, factor: str, billed: str
) -> None:
    over = APRIL + timedelta(days=10 * part)
    fact = replace(subscribed(), plan=LASTING)
    contract = ContractFact(
        id=UUID(int=7),
        customer=fact.customer,
        subscription=fact.id,
        currency="USD",
        begins=APRIL,
        ends=None,
        pace=MONTH,
        zone="UTC",
        prices=(),
        amount=Decimal(100),
        factor=Decimal(factor),
    )
    ended = replace(fact, changes=[ChangeFact(UUID(int=8), "cancel", over, "prorate")])
    spent = [Spent(fact, "units", APRIL, Fraction(charged))]
    found = settlements(contract, ended, life(ended, over), spent, over)
    told = {one.kind: f"{float(one.amount):.2f}" for one in found}
    assert " ".join((told["true_up"], told["overage"])) == billed


def test_the_price_that_began_last_holds_and_ones_own_before_that_for_all() -> None:
    def agreed(number: int, subscription: UUID | None, *begins: datetime) -> ContractFact:
        return ContractFact(
            id=UUID(int=number),
            customer=UUID(int=2),
            subscription=subscription,
            currency="USD",
            begins=APRIL,
            ends=APRIL + timedelta(days=60),
            pace=MONTH,
            zone="UTC",
            prices=tuple(AgreedFact("units", at, {"named": f"{number} {at:%b}"}) for at in begins),
        )

    fact = subscribed()
    may, june = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6))
    contracts = [agreed(1, None, APRIL, may), agreed(2, fact.id, may)]
    assert agreed_price(contracts, fact, "units", APRIL) == {"named": "1 Apr"}
    assert agreed_price(contracts, fact, "units", may) == {"named": "2 May"}
    assert agreed_price(contracts, fact, "units", june) is None
    assert agreed_price(contracts, fact, "calls", may) is None
