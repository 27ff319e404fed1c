"""How long a failed job waits."""

from datetime import timedelta

from apps.core.jobs import MAX_ATTEMPTS, backoff


def test_waits_quadruple_with_chance_up_to_six_hours() -> None:
    ceilings = [timedelta(seconds=5 * 4**n) for n in range(7)] + [timedelta(hours=6)] * 3
    for attempt, ceiling in enumerate(ceilings, start=1):
        waits = [backoff(attempt) for _ in range(200)]
        assert ceiling / 2 <= min(waits) < max(waits) <= ceiling


def test_the_last_attempt_comes_hours_after_the_first() -> None:
    most = sum((timedelta(seconds=5 * 4**n) for n in range(MAX_ATTEMPTS - 1)), timedelta(0))
    assert timedelta(hours=3) < most / 2 < most < timedelta(hours=8)
