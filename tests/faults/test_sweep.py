"""The crash sweep (K): wherever the process dies, the same history comes of it."""

from typing import Final

import pytest

from apps.core.failpoints import POINTS
from tests.faults.sweeping import Sweep

pytestmark = pytest.mark.slow

_HITS: Final = 3
_IN_EVERY_RUN: Final = (
    "core.jobs.after_work:1",
    "invoicing.issue.after_number:2",
    "metering.rollup.after_mark:1",
    "payments.call.after:2",
)


def test_the_history_reaches_every_failpoint_and_survives_some(sweep: Sweep) -> None:
    assert set(sweep.hits) == POINTS
    for where in _IN_EVERY_RUN:
        sweep.crash(where)


@pytest.mark.whole
@pytest.mark.parametrize("point", sorted(POINTS))
def test_k_a_crash_changes_nothing_in_the_end(sweep: Sweep, point: str) -> None:
    for hit in range(1, min(_HITS, sweep.hits[point]) + 1):
        sweep.crash(f"{point}:{hit}")
