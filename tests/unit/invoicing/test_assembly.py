"""The difference engine: what should be billed, less what has been."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4

import pytest

from apps.catalog.domain import ChargeKind, ChargeTerms, MeterTerms, PriceTerms, Timing
from apps.invoicing.assembly import PriceMissing, propose
from apps.invoicing.domain import LineKind
from apps.invoicing.lines import Billed, LineKey, ProposedLine
from apps.invoicing.slicing import Reach, in_window, next_due, reach_of, slices_due
from apps.metering.domain import Measurement, UsageSpan
from apps.rating.aggregation import Aggregation, AggregationRule
from apps.rating.periods import Alignment, Cadence, Unit
from apps.rating.pricing import Measured, parse_pricing
from apps.rating.proration import Basis
from apps.subscriptions.domain import SegmentTerms, Settlement, SubscriptionTerms

PHASE = uuid4()
VERSION = uuid4()
MONTH = Cadence(Unit.MONTH)
LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


def utc(year: int, month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


def price(document: dict[str, object], **bounds: Decimal | None) -> PriceTerms:
    terms = {"minimum": None, "maximum": None, "billing_threshold": None, **bounds}
    return PriceTerms(parse_pricing(document, currency="USD"), *terms.values())


def base_fee(amount: str = "49.00", timing: Timing = Timing.ARREARS) -> ChargeTerms:
    return ChargeTerms(
        id=uuid4(),
        key="base",
        name="Base fee",
        kind=ChargeKind.RECURRING,
        cadence=MONTH,
        timing=timing,
        prorated=True,
        meter=None,
        included_quantity=Decimal(0),
        prices={(None, "USD"): price({"model": "flat", "amount": amount})},
    )


def seats(unit_price: str = "10", timing: Timing = Timing.ADVANCE) -> ChargeTerms:
    return replace(
        base_fee(timing=timing),
        id=uuid4(),
        key="seats",
        name="Seats",
        prices={(None, "USD"): price({"model": "per_unit", "unit_price": unit_price})},
    )


def calls(unit_price: str = "0.01", **bounds: Decimal | None) -> ChargeTerms:
    return ChargeTerms(
        id=uuid4(),
        key="calls",
        name="API calls",
        kind=ChargeKind.USAGE,
        cadence=MONTH,
        timing=Timing.ARREARS,
        prorated=True,
        meter=MeterTerms(
            version_id=uuid4(),
            key="api_calls",
            name="API calls",
            unit="calls",
            rule=AggregationRule(Aggregation.SUM),
            group_by=(),
        ),
        included_quantity=Decimal(0),
        prices={(None, "USD"): price({"model": "per_unit", "unit_price": unit_price}, **bounds)},
    )


def setup_fee() -> ChargeTerms:
    return replace(
        base_fee("100.00"), id=uuid4(), key="setup", name="Setup", kind=ChargeKind.FIXED,
        cadence=None, timing=Timing.ADVANCE,
    )  # fmt: skip


def segment(
    start: datetime,
    end: datetime | None = None,
    *,
    quantity: str = "1",
    anchor: datetime | None = None,
    settlement: Settlement = Settlement.PRORATE,
    phase: UUID = PHASE,
) -> SegmentTerms:
    return SegmentTerms(start, end, VERSION, phase, Decimal(quantity), anchor or start, settlement)


def subscription(*segments: SegmentTerms, **changes: Any) -> SubscriptionTerms:
    terms = SubscriptionTerms(
        id=uuid4(),
        tenant_id=uuid4(),
        customer_id=uuid4(),
        external_id=None,
        currency="USD",
        zone="UTC",
        alignment=Alignment.ANNIVERSARY,
        anchor_day=None,
        started_at=segments[0].starts_at,
        billed_until=None,
        changed_from=None,
        segments=segments,
    )
    return replace(terms, **changes)


def bill(
    terms: SubscriptionTerms,
    charges: Sequence[ChargeTerms],
    cutoff: datetime,
    *,
    used: str = "0",
    billed: Mapping[LineKey, Billed] | None = None,
    usage_since: datetime | None = None,
) -> list[ProposedLine]:
    reach = reach_of(terms, cutoff, usage_since=usage_since, reopened=None)
    slices = slices_due(
        [terms], {PHASE: tuple(charges)}, reaches={terms.id: reach}, basis=Basis.SECOND
    )
    measured = {
        index: (Measurement("", Measured(Decimal(used), 1)),)
        for index, one in enumerate(slices)
        if one.usage
    }
    within = {
        key: past
        for key, past in (billed or {}).items()
        if in_window(key.period_start, past.period_end, reach.window)
    }
    return propose(slices, measured, within, price_lists={})


def as_billed(lines: Sequence[ProposedLine]) -> dict[LineKey, Billed]:
    found: dict[LineKey, Billed] = {}
    for line in lines:
        past = found.get(line.key)
        found[line.key] = Billed(
            amount=line.amount + (past.amount if past else 0),
            currency=line.currency,
            count=(past.count if past else 0) + 1,
            first_line_id=past.first_line_id if past else uuid4(),
            period_end=line.period_end,
            service_start=line.service.start,
            service_end=line.service.end,
            description=line.description,
            unit=line.unit,
        )
    return found


def amounts(lines: Sequence[ProposedLine]) -> list[tuple[str, Decimal]]:
    return [(line.description, line.amount) for line in lines]


def test_arrears_are_due_when_the_period_ends_and_not_a_microsecond_before() -> None:
    terms = subscription(segment(utc(2026, 4)))
    early = utc(2026, 5) - timedelta(microseconds=1)
    assert bill(terms, [base_fee()], early) == []
    assert amounts(bill(terms, [base_fee()], utc(2026, 5))) == [("Base fee", Decimal("49.00"))]


def test_advance_is_due_at_the_start_inclusive() -> None:
    terms = subscription(segment(utc(2026, 4)))
    fee = base_fee(timing=Timing.ADVANCE)
    assert bill(terms, [fee], utc(2026, 4) - timedelta(microseconds=1)) == []
    assert [line.period_end for line in bill(terms, [fee], utc(2026, 4))] == [utc(2026, 5)]
    both = bill(terms, [fee], utc(2026, 5))
    assert [line.key.period_start for line in both] == [utc(2026, 4), utc(2026, 5)]


def test_a_fixed_charge_is_due_once_when_its_phase_begins() -> None:
    terms = subscription(segment(utc(2026, 4)))
    setup = setup_fee()
    lines = bill(terms, [setup], utc(2026, 4))
    assert amounts(lines) == [("Setup", Decimal("100.00"))]
    later = replace(terms, billed_until=utc(2026, 4))
    assert bill(later, [setup], utc(2026, 6), billed=as_billed(lines)) == []


def test_billing_again_bills_nothing() -> None:
    terms = subscription(segment(utc(2026, 4)))
    charges = [base_fee(timing=Timing.ADVANCE), calls()]
    lines = bill(terms, charges, utc(2026, 5), used="700")
    assert amounts(lines) == [
        ("Base fee", Decimal("49.00")),
        ("Base fee", Decimal("49.00")),
        ("API calls", Decimal("7.00")),
    ]
    again = replace(terms, billed_until=utc(2026, 5))
    for since in (None, utc(2026, 4, 20)):
        found = bill(
            again, charges, utc(2026, 5), used="700", billed=as_billed(lines), usage_since=since
        )
        assert found == []


def test_late_usage_bills_the_difference_and_names_the_original() -> None:
    terms = subscription(segment(utc(2026, 4)))
    charges = [calls()]
    first = bill(terms, charges, utc(2026, 5), used="700")
    billed = as_billed(first)
    again = replace(terms, billed_until=utc(2026, 6))
    (line,) = bill(
        again, charges, utc(2026, 6), used="750", billed=billed, usage_since=utc(2026, 4, 9)
    )[:1]
    assert (line.amount, line.sequence) == (Decimal("0.50"), 1)
    assert line.corrects == billed[line.key].first_line_id
    assert line.description == "Correction: API calls"
    assert line.derivation.expected == Decimal("7.50")
    assert line.derivation.already_billed == Decimal("7.00")


def test_canceling_in_mid_period_credits_what_was_billed_ahead() -> None:
    fee = base_fee("31.00", timing=Timing.ADVANCE)
    terms = subscription(segment(utc(2026, 1)))
    billed = as_billed(bill(terms, [fee], utc(2026, 1)))
    ended = replace(
        terms,
        segments=(segment(utc(2026, 1), utc(2026, 1, 11)),),
        billed_until=utc(2026, 1),
        changed_from=utc(2026, 1, 11),
    )
    (line,) = bill(ended, [fee], utc(2026, 1, 11), billed=billed)
    assert line.amount == Decimal("-21.00")
    assert line.derivation.share == (10, 31)


def test_canceling_without_settlement_keeps_the_period_billed() -> None:
    fee = base_fee("31.00", timing=Timing.ADVANCE)
    terms = subscription(segment(utc(2026, 1)))
    billed = as_billed(bill(terms, [fee], utc(2026, 1)))
    ended = replace(
        terms,
        segments=(segment(utc(2026, 1), utc(2026, 1, 11), settlement=Settlement.NONE),),
        billed_until=utc(2026, 1),
        changed_from=utc(2026, 1, 11),
    )
    assert bill(ended, [fee], utc(2026, 2), billed=billed) == []


def test_canceling_in_the_past_takes_back_whole_periods() -> None:
    fee = base_fee(timing=Timing.ADVANCE)
    terms = subscription(segment(utc(2026, 1)))
    billed = as_billed(bill(terms, [fee], utc(2026, 3)))
    ended = replace(
        terms,
        segments=(segment(utc(2026, 1), utc(2026, 2)),),
        billed_until=utc(2026, 3),
        changed_from=utc(2026, 2),
    )
    lines = bill(ended, [fee], utc(2026, 3), billed=billed)
    assert [(line.key.period_start, line.amount) for line in lines] == [
        (utc(2026, 2), Decimal("-49.00")),
        (utc(2026, 3), Decimal("-49.00")),
    ]


def test_a_change_of_quantity_in_mid_period_bills_each_part_for_its_time() -> None:
    seat = seats("31")
    terms = subscription(segment(utc(2026, 1), quantity="2"))
    billed = as_billed(bill(terms, [seat], utc(2026, 1)))
    changed = replace(
        terms,
        segments=(
            segment(utc(2026, 1), utc(2026, 1, 11), quantity="2"),
            segment(utc(2026, 1, 11), quantity="5", anchor=utc(2026, 1)),
        ),
        billed_until=utc(2026, 1),
        changed_from=utc(2026, 1, 11),
    )
    lines = bill(changed, [seat], utc(2026, 1, 11), billed=billed)
    assert [line.amount for line in lines] == [Decimal("-42.00"), Decimal("105.00")]
    assert sum(line.amount for line in lines) + 62 == 2 * 10 + 5 * 21


def test_units_that_are_included_are_free_for_all_of_their_time() -> None:
    seat = replace(seats("31", timing=Timing.ARREARS), included_quantity=Decimal(1))
    terms = subscription(
        segment(utc(2026, 1), utc(2026, 1, 11), quantity="3"),
        segment(utc(2026, 1, 11), quantity="2", anchor=utc(2026, 1)),
    )
    lines = bill(terms, [seat], utc(2026, 2))
    assert [line.amount for line in lines] == [Decimal("20.00"), Decimal("21.00")]


def test_a_part_of_a_period_includes_its_share_of_the_usage() -> None:
    terms = subscription(segment(utc(2026, 1), utc(2026, 1, 11)))
    free = replace(calls(), included_quantity=Decimal(31))
    (line,) = bill(terms, [free], utc(2026, 1, 11), used="110")
    assert (line.derivation.included, line.derivation.share) == (Decimal(10), (10, 31))
    assert line.amount == Decimal("1.00")


def test_usage_does_not_see_a_change_of_quantity() -> None:
    terms = subscription(
        segment(utc(2026, 1), utc(2026, 1, 11)),
        segment(utc(2026, 1, 11), quantity="5", anchor=utc(2026, 1)),
    )
    (line,) = bill(terms, [calls()], utc(2026, 2), used="300")
    assert (line.service.start, line.service.end) == (utc(2026, 1), utc(2026, 2))
    assert line.amount == Decimal("3.00")


def test_usage_within_the_free_tier_is_shown_and_costs_nothing() -> None:
    terms = subscription(segment(utc(2026, 1)))
    (line,) = bill(terms, [calls("0")], utc(2026, 2), used="300")
    assert (line.amount, line.quantity) == (Decimal("0.00"), Decimal(300))
    assert bill(terms, [calls("0")], utc(2026, 2), used="0") == []


def test_minimum_and_maximum_are_lines_of_their_own() -> None:
    terms = subscription(segment(utc(2026, 1)))
    low = calls(minimum=Decimal(5), maximum=Decimal(20))
    assert amounts(bill(terms, [low], utc(2026, 2), used="300")) == [
        ("API calls", Decimal("3.00")),
        ("API calls: to the minimum", Decimal("2.00")),
    ]
    assert amounts(bill(terms, [low], utc(2026, 2), used="2500")) == [
        ("API calls", Decimal("25.00")),
        ("API calls: above the maximum", Decimal("-5.00")),
    ]


def test_late_usage_corrects_the_minimum_too() -> None:
    terms = subscription(segment(utc(2026, 1)))
    charge = calls(minimum=Decimal(5))
    billed = as_billed(bill(terms, [charge], utc(2026, 2), used="300"))
    again = replace(terms, billed_until=utc(2026, 2))
    lines = bill(
        again, [charge], utc(2026, 2), used="450", billed=billed, usage_since=utc(2026, 1, 5)
    )
    assert [line.amount for line in lines] == [Decimal("1.50"), Decimal("-1.50")]
    assert [line.key.kind for line in lines] == [LineKind.USAGE, LineKind.MINIMUM]


def test_a_price_point_has_a_line_and_a_price_of_its_own() -> None:
    charge = calls("0.01")
    special = uuid4()
    charge = replace(
        charge,
        prices={
            **charge.prices,
            (special, "USD"): price({"model": "per_unit", "unit_price": "0.02"}),
        },
    )
    terms = subscription(segment(utc(2026, 1)))
    slices = slices_due(
        [terms],
        {PHASE: (charge,)},
        reaches={terms.id: Reach(LONG_AGO, utc(2026, 2))},
        basis=Basis.SECOND,
    )
    lines = propose(
        slices,
        {0: (Measurement("", Measured(Decimal(100))), Measurement("vip", Measured(Decimal(50))))},
        {},
        price_lists={"vip": special},
    )
    assert amounts(lines) == [("API calls", Decimal("1.00")), ("API calls (vip)", Decimal("1.00"))]


def test_events_of_the_customer_go_to_the_subscription_that_started_first() -> None:
    charge = calls()
    older = subscription(segment(utc(2026, 1), utc(2026, 1, 21)))
    younger = replace(
        subscription(segment(utc(2026, 1, 11), anchor=utc(2026, 1))),
        customer_id=older.customer_id,
    )
    reach = Reach(LONG_AGO, utc(2026, 2))
    slices = slices_due(
        [older, younger],
        {PHASE: (charge,)},
        reaches={older.id: reach, younger.id: reach},
        basis=Basis.SECOND,
    )
    assert [one.usage for one in slices] == [
        (UsageSpan(utc(2026, 1), utc(2026, 1, 21), unassigned=True),),
        (
            UsageSpan(utc(2026, 1, 11), utc(2026, 1, 21), unassigned=False),
            UsageSpan(utc(2026, 1, 21), utc(2026, 2), unassigned=True),
        ),
    ]


def test_a_charge_without_a_price_in_the_currency_is_refused() -> None:
    terms = subscription(segment(utc(2026, 1)), currency="EUR")
    with pytest.raises(PriceMissing, match="no price in EUR"):
        bill(terms, [base_fee()], utc(2026, 2))


def test_the_next_due_instant_is_the_next_boundary_of_any_charge() -> None:
    terms = subscription(segment(utc(2026, 1), utc(2026, 3, 10)))
    charges = {PHASE: (base_fee(timing=Timing.ADVANCE), calls())}
    found = []
    at: datetime | None = utc(2025, 12)
    while at is not None:
        at = next_due(terms, charges, at)
        found.append(at)
    assert found == [utc(2026, 1), utc(2026, 2), utc(2026, 3), utc(2026, 3, 10), None]


def test_a_canceled_document_is_billed_anew_under_the_next_sequence() -> None:
    terms = subscription(segment(utc(2026, 1)))
    fee = base_fee()
    billed = as_billed(bill(terms, [fee], utc(2026, 2)))
    canceled = {
        key: replace(past, amount=Decimal(0), first_line_id=None) for key, past in billed.items()
    }
    again = replace(terms, billed_until=utc(2026, 2), changed_from=utc(2026, 1))
    (line,) = bill(again, [fee], utc(2026, 2), billed=canceled)
    assert (line.amount, line.sequence, line.corrects) == (Decimal("49.00"), 1, None)
    assert line.description == "Base fee"


@pytest.mark.parametrize("days", range(1, 59, 7))
def test_parts_of_a_period_add_up_to_the_whole(days: int) -> None:
    change = utc(2026, 1) + timedelta(days=days)
    seat = seats("73.13", timing=Timing.ARREARS)
    terms = subscription(segment(utc(2026, 1), change), segment(change, anchor=utc(2026, 1)))
    reach = Reach(LONG_AGO, utc(2026, 3))
    slices = slices_due([terms], {PHASE: (seat,)}, reaches={terms.id: reach}, basis=Basis.SECOND)
    assert sum((one.share for one in slices), Fraction(0)) == 2
