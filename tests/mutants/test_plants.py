"""The planted bugs are still about code and tests that exist."""

import re
from pathlib import Path

import pytest

from tests.mutants.planting import FAILED, ROOT, passes, plant
from tests.mutants.plants import PLANTS, Plant


@pytest.mark.parametrize("one", [pytest.param(one, id=one.name) for one in PLANTS])
def test_each_is_planted_in_one_place_and_sought_by_a_test_that_exists(one: Plant) -> None:
    path, _, name = one.test.partition("::")
    assert (ROOT / one.path).read_text().count(one.good) == 1
    assert one.good != one.bad
    function = re.sub(r"\[.*\]$", "", name)
    text = (ROOT / path).read_text()
    assert not name or f"def {function}(" in text
    case = re.search(r"\[(\w+)\]$", name)
    # a second function of the name would give both cases another id
    assert case is None or text.count(f".{case[1]},") == 1 or f'"{case[1]}"' in text


def test_names_tell_them_apart() -> None:
    assert len({one.name for one in PLANTS}) == len(PLANTS) >= 25


def test_a_bug_that_its_test_does_not_find_survives(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "test_sums.py").write_text(
        "from sums import add\ndef test_nothing():\n    assert add(0, 0) == 0\n"
        "def test_one():\n    assert add(1, 0) == 1\n"
    )
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npythonpath = .\naddopts = -p no:randomly -p no:django\n"
    )
    bug = Plant("difference", "sums.py", "a + b", "b - a", "")
    plant(bug, tmp_path)
    assert passes("test_sums.py::test_nothing", tmp_path)[0] == 0
    assert passes("test_sums.py::test_one", tmp_path)[0] == FAILED
    with pytest.raises(ValueError, match="0 times"):
        plant(bug, tmp_path)
