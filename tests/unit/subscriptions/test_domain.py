"""Timelines, billing periods and calendars, without a database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog.domain import ChargeKind, ChargeTerms, PhaseKind, Timing
from apps.rating.periods import Alignment, Cadence, Span, Unit
from apps.subscriptions.domain import (
    Opening,
    PhaseLength,
    SegmentTerms,
    Settlement,
    SubscriptionInvalid,
    SubscriptionTerms,
    calendar,
    current_period,
    cut,
    lay_out,
    leading_cadence,
    period_end,
    recurring_period,
    segment_at,
    with_trial,
)

DAY = Cadence(Unit.DAY)
WEEK = Cadence(Unit.WEEK)
MONTH = Cadence(Unit.MONTH)
YEAR = Cadence(Unit.YEAR)
VERSION = uuid4()


def day(month: int, number: int, hour: int = 0, *, year: int = 2026) -> datetime:
    return datetime(year, month, number, hour, tzinfo=UTC)


def phase(kind: PhaseKind, length: Cadence | None = None) -> PhaseLength:
    return PhaseLength(uuid4(), kind, length)


def laid(*phases: PhaseLength, at: datetime, zone: str = "UTC") -> tuple[SegmentTerms, ...]:
    return lay_out(phases, started_at=at, zone=zone, plan_version_id=VERSION, quantity=Decimal(1))


def charge(
    cadence: Cadence | None, kind: ChargeKind = ChargeKind.RECURRING, key: str = "base"
) -> ChargeTerms:
    return ChargeTerms(
        id=uuid4(),
        key=key,
        name=key,
        kind=kind,
        cadence=cadence,
        timing=Timing.ADVANCE,
        prorated=True,
        meter=None,
        included_quantity=Decimal(0),
        prices={},
    )


def subscription(
    segments: tuple[SegmentTerms, ...],
    *,
    zone: str = "UTC",
    alignment: Alignment = Alignment.ANNIVERSARY,
    anchor_day: int | None = None,
) -> SubscriptionTerms:
    return SubscriptionTerms(
        id=uuid4(),
        tenant_id=uuid4(),
        customer_id=uuid4(),
        external_id=None,
        currency="USD",
        zone=zone,
        alignment=alignment,
        anchor_day=anchor_day,
        started_at=segments[0].starts_at,
        billed_until=None,
        changed_from=None,
        segments=segments,
    )


def charges_of(
    segments: tuple[SegmentTerms, ...], *charges: ChargeTerms
) -> dict[UUID, tuple[ChargeTerms, ...]]:
    return {one.phase_id: charges for one in segments}


def spans(segments: tuple[SegmentTerms, ...]) -> list[tuple[datetime, datetime | None]]:
    return [(one.starts_at, one.ends_at) for one in segments]


def test_of_recurring_periods_that_end_together_the_shortest_counts() -> None:
    evergreen = phase(PhaseKind.EVERGREEN)
    (held,) = laid(evergreen, at=day(1, 1))
    cadences = [Cadence(Unit.MONTH, 3), MONTH, Cadence(Unit.MONTH, 6), Cadence(Unit.MONTH, 2)]
    terms = Opening(
        day(1, 1), "UTC", Alignment.ANNIVERSARY, None, VERSION, (evergreen,), Decimal(1), None
    )
    charges = charges_of((held,), *(charge(one) for one in cadences))
    assert recurring_period(terms, held, charges, day(6, 20)) == (day(6, 1), day(7, 1))


# --- laying out ---------------------------------------------------------------------------------


def test_an_evergreen_plan_is_one_open_segment() -> None:
    start = day(1, 31, 9)
    evergreen = phase(PhaseKind.EVERGREEN)

    assert laid(evergreen, at=start) == (
        SegmentTerms(start, None, VERSION, evergreen.id, Decimal(1), start, Settlement.PRORATE),
    )


def test_a_trial_moves_the_anchor_to_the_first_paid_phase() -> None:
    segments = laid(
        phase(PhaseKind.TRIAL, Cadence(Unit.DAY, 14)),
        phase(PhaseKind.DISCOUNT, Cadence(Unit.MONTH, 3)),
        phase(PhaseKind.EVERGREEN),
        at=day(1, 20),
    )

    assert spans(segments) == [
        (day(1, 20), day(2, 3)),
        (day(2, 3), day(5, 3)),
        (day(5, 3), None),
    ]
    assert [one.anchor_at for one in segments] == [day(1, 20), day(2, 3), day(2, 3)]


def test_phases_of_months_are_counted_together_so_that_the_day_returns() -> None:
    segments = laid(
        phase(PhaseKind.DISCOUNT, MONTH),
        phase(PhaseKind.DISCOUNT, MONTH),
        phase(PhaseKind.FIXED_TERM, YEAR),
        at=day(1, 31),
    )

    assert spans(segments) == [
        (day(1, 31), day(2, 28)),
        (day(2, 28), day(3, 31)),
        (day(3, 31), day(3, 31, year=2027)),
    ]


def test_phases_of_days_and_of_months_follow_each_other() -> None:
    segments = laid(
        phase(PhaseKind.DISCOUNT, MONTH),
        phase(PhaseKind.DISCOUNT, WEEK),
        phase(PhaseKind.DISCOUNT, MONTH),
        phase(PhaseKind.EVERGREEN),
        at=day(1, 31),
    )

    assert spans(segments) == [
        (day(1, 31), day(2, 28)),
        (day(2, 28), day(3, 7)),
        (day(3, 7), day(4, 7)),
        (day(4, 7), None),
    ]


def test_lengths_are_days_of_the_zone_not_hours() -> None:
    # the clocks of New York go forward on 8 March 2026
    start = datetime(2026, 3, 1, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)

    segments = laid(
        phase(PhaseKind.TRIAL, Cadence(Unit.DAY, 14)),
        phase(PhaseKind.EVERGREEN),
        at=start,
        zone="America/New_York",
    )

    assert segments[1].starts_at - start == timedelta(days=14, hours=-1)


def test_phases_beyond_every_calendar_are_refused() -> None:
    century = Cadence(Unit.YEAR, 100)

    with pytest.raises(SubscriptionInvalid, match="longer than any calendar"):
        laid(*[phase(PhaseKind.FIXED_TERM, century)] * 70, at=day(1, 1))


def test_a_trial_can_be_longer_or_left_out() -> None:
    trial, second = phase(PhaseKind.TRIAL, WEEK), phase(PhaseKind.TRIAL, WEEK)
    evergreen = phase(PhaseKind.EVERGREEN)

    longer = with_trial([trial, second, evergreen], 30)
    none = with_trial([trial, second, evergreen], 0)

    assert longer == (PhaseLength(trial.id, PhaseKind.TRIAL, Cadence(Unit.DAY, 30)), evergreen)
    assert none == (evergreen,)
    with pytest.raises(SubscriptionInvalid, match="no trial phase"):
        with_trial([evergreen], 30)


lengths = st.one_of(
    st.builds(Cadence, st.sampled_from([Unit.MONTH, Unit.YEAR]), st.integers(1, 14)),
    st.builds(Cadence, st.sampled_from([Unit.DAY, Unit.WEEK]), st.integers(1, 60)),
)


@given(
    trials=st.lists(lengths, max_size=2),
    paid=st.lists(lengths, max_size=4),
    start=st.integers(0, 10 * 365 * 24 * 60).map(
        lambda minutes: day(1, 1, year=2020) + timedelta(minutes=minutes)
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
)
def test_a_timeline_has_no_gap_and_no_overlap(
    trials: list[Cadence], paid: list[Cadence], start: datetime, zone: str
) -> None:
    segments = laid(
        *(phase(PhaseKind.TRIAL, one) for one in trials),
        *(phase(PhaseKind.DISCOUNT, one) for one in paid),
        phase(PhaseKind.EVERGREEN),
        at=start,
        zone=zone,
    )

    assert segments[0].starts_at == start
    assert segments[-1].ends_at is None
    assert all(left.ends_at == right.starts_at for left, right in pairwise(segments))
    assert all(one.ends_at is None or one.starts_at < one.ends_at for one in segments)
    paid_from = segments[len(trials)].starts_at
    assert [one.anchor_at for one in segments] == [start] * len(trials) + [paid_from] * (
        len(paid) + 1
    )


# --- cutting ------------------------------------------------------------------------------------


def two_segments() -> tuple[SegmentTerms, ...]:
    return laid(
        phase(PhaseKind.TRIAL, Cadence(Unit.DAY, 10)), phase(PhaseKind.EVERGREEN), at=day(1, 1)
    )


def test_a_cut_keeps_what_lies_before_it() -> None:
    kept = cut(two_segments(), day(2, 1), Settlement.NONE)

    assert spans(kept) == [(day(1, 1), day(1, 11)), (day(1, 11), day(2, 1))]
    assert [one.settlement for one in kept] == [Settlement.PRORATE, Settlement.NONE]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (day(1, 1), []),
        (day(1, 5), [(day(1, 1), day(1, 5))]),
        (day(1, 11), [(day(1, 1), day(1, 11))]),
    ],
)
def test_a_cut_drops_what_begins_later(
    at: datetime, expected: list[tuple[datetime, datetime]]
) -> None:
    assert spans(cut(two_segments(), at, Settlement.PRORATE)) == expected


def test_a_cut_behind_the_end_changes_nothing() -> None:
    ended = cut(two_segments(), day(2, 1), Settlement.NONE)

    assert cut(ended, day(2, 1), Settlement.PRORATE) == ended
    assert cut(ended, day(3, 1), Settlement.PRORATE) == ended


def test_an_instant_lies_in_the_segment_that_begins_with_it() -> None:
    segments = cut(two_segments(), day(2, 1), Settlement.PRORATE)

    assert segment_at(segments, day(1, 1) - timedelta(microseconds=1)) is None
    assert segment_at(segments, day(1, 1)) == segments[0]
    assert segment_at(segments, day(1, 11)) == segments[1]
    assert segment_at(segments, day(2, 1)) is None


# --- periods ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charges", "expected"),
    [
        ([], None),
        ([charge(None, ChargeKind.FIXED)], None),
        ([charge(YEAR), charge(MONTH)], MONTH),
        ([charge(YEAR), charge(MONTH, ChargeKind.USAGE)], YEAR),
        ([charge(MONTH, ChargeKind.USAGE), charge(WEEK, ChargeKind.USAGE)], WEEK),
        ([charge(Cadence(Unit.DAY, 31)), charge(MONTH)], MONTH),
        ([charge(Cadence(Unit.DAY, 30)), charge(MONTH)], Cadence(Unit.DAY, 30)),
    ],
)
def test_the_shortest_recurring_cadence_leads(
    charges: list[ChargeTerms], expected: Cadence | None
) -> None:
    assert leading_cadence(charges) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (day(1, 31), Span(day(1, 31), day(2, 28))),
        (day(2, 27), Span(day(1, 31), day(2, 28))),
        (day(2, 28), Span(day(2, 28), day(3, 31))),
        (day(4, 1), Span(day(3, 31), day(4, 30))),
        (day(1, 30), None),
    ],
)
def test_the_current_period_is_counted_from_the_anchor(at: datetime, expected: Span | None) -> None:
    segments = laid(phase(PhaseKind.EVERGREEN), at=day(1, 31))
    terms = subscription(segments)

    assert current_period(terms, charges_of(segments, charge(MONTH)), at) == expected


def test_the_first_period_of_an_aligned_subscription_is_short() -> None:
    segments = laid(phase(PhaseKind.EVERGREEN), at=day(1, 20))
    by_calendar = subscription(segments, alignment=Alignment.CALENDAR)
    by_day = subscription(segments, anchor_day=31)
    charges = charges_of(segments, charge(MONTH))

    assert current_period(by_calendar, charges, day(1, 25)) == Span(day(1, 20), day(2, 1))
    assert current_period(by_day, charges, day(1, 25)) == Span(day(1, 20), day(1, 31))
    assert current_period(by_day, charges, day(2, 1)) == Span(day(1, 31), day(2, 28))


def test_a_trial_ends_its_period() -> None:
    segments = two_segments()
    terms = subscription(segments)
    charges = charges_of(segments, charge(MONTH))

    assert current_period(terms, charges, day(1, 5)) == Span(day(1, 1), day(1, 11))
    assert period_end(terms, charges, day(1, 5)) == day(1, 11)
    assert period_end(terms, charges, day(1, 11)) == day(2, 11)


def test_a_period_goes_on_into_the_next_phase_of_the_same_grid() -> None:
    segments = laid(
        phase(PhaseKind.DISCOUNT, Cadence(Unit.DAY, 45)), phase(PhaseKind.EVERGREEN), at=day(1, 1)
    )
    terms = subscription(segments)
    charges = charges_of(segments, charge(MONTH))

    assert segments[0].ends_at == day(2, 15)
    assert current_period(terms, charges, day(2, 10)) == Span(day(2, 1), day(3, 1))
    assert current_period(terms, charges, day(2, 20)) == Span(day(2, 1), day(3, 1))


def test_without_a_period_a_cancellation_waits_for_the_end_of_the_phase() -> None:
    segments = two_segments()
    terms = subscription(segments)

    assert period_end(terms, {}, day(1, 5)) == day(1, 11)
    assert period_end(terms, {}, day(3, 5)) == day(3, 5)
    assert period_end(terms, {}, day(1, 1, year=2020)) == day(1, 1, year=2020)


def test_the_timeline_ends_the_last_period() -> None:
    segments = laid(phase(PhaseKind.FIXED_TERM, Cadence(Unit.DAY, 45)), at=day(1, 1))
    terms = subscription(segments)

    assert period_end(terms, charges_of(segments, charge(MONTH)), day(2, 10)) == day(2, 15)


# --- the calendar -------------------------------------------------------------------------------


def test_the_calendar_tells_every_cadence_in_order() -> None:
    segments = laid(phase(PhaseKind.EVERGREEN), at=day(1, 31))
    terms = subscription(segments)
    charges = charges_of(
        segments,
        charge(MONTH, key="base"),
        charge(MONTH, ChargeKind.USAGE, key="calls"),
        charge(YEAR, key="support"),
        charge(None, ChargeKind.FIXED, key="setup"),
    )

    found = [
        (one.span_start, one.span_end, one.charges, one.whole)
        for one in islice(calendar(terms, charges, after=day(2, 1)), 3)
    ]

    assert found == [
        (day(1, 31), day(2, 28), ("base", "calls"), True),
        (day(1, 31), day(1, 31, year=2027), ("support",), True),
        (day(2, 28), day(3, 31), ("base", "calls"), True),
    ]


def test_the_calendar_is_cut_where_phases_change_and_ends_with_the_timeline() -> None:
    segments = cut(two_segments(), day(2, 20), Settlement.PRORATE)
    terms = subscription(segments, alignment=Alignment.CALENDAR)
    charges = charges_of(segments, charge(MONTH))

    found = [
        (one.span_start, one.span_end, one.whole)
        for one in calendar(terms, charges, after=day(1, 1))
    ]

    assert found == [
        (day(1, 1), day(1, 11), False),
        (day(1, 11), day(2, 1), False),
        (day(2, 1), day(2, 20), False),
    ]


def test_a_change_of_quantity_does_not_cut_the_calendar() -> None:
    first = laid(phase(PhaseKind.EVERGREEN), at=day(1, 1))[0]
    segments = (
        SegmentTerms(
            first.starts_at, day(1, 10), VERSION, first.phase_id, Decimal(1), first.anchor_at
        ),
        SegmentTerms(day(1, 10), None, VERSION, first.phase_id, Decimal(5), first.anchor_at),
    )

    found = calendar(subscription(segments), charges_of(segments, charge(MONTH)), after=day(1, 1))

    assert [(one.span_start, one.span_end) for one in islice(found, 2)] == [
        (day(1, 1), day(2, 1)),
        (day(2, 1), day(3, 1)),
    ]


def test_an_open_calendar_ends_at_the_last_instant_of_all() -> None:
    segments = laid(phase(PhaseKind.EVERGREEN), at=day(1, 1))
    charges = charges_of(segments, charge(Cadence(Unit.YEAR, 100)))

    found = list(calendar(subscription(segments), charges, after=day(1, 1, year=8800)))

    assert [(one.span_start.year, one.span_end.year, one.whole) for one in found] == [
        (8726, 8826, True),
        (8826, 8926, True),
        (8926, 9000, False),
    ]
