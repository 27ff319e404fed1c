"""The page is as the tests say, and every row that a test names exists."""

from pathlib import Path

import pytest

from tests.scoreboard.board import PAGE, holders, not_built, page, rows


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(holders()), "run python -m tests.scoreboard"


def test_every_row_is_held_by_a_test_or_waits_for_what_is_not_built() -> None:
    held, waiting = holders().keys(), not_built().keys()
    assert [row.id for row in rows() if row.id not in held | waiting] == []
    assert sorted(held & waiting) == []
    assert sorted(waiting - {row.id for row in rows()}) == []


def test_tests_name_rows_that_there_are() -> None:
    known = [row.id for row in rows()]
    assert sorted(set(known)) == sorted(known)
    assert sorted(holders().keys() - set(known)) == []


def test_marks_are_found_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.holds('L1')\n"
        "TABLE = [pytest.param(1, marks=pytest.mark.holds('L2', 'L3'))]\n"
        "@pytest.mark.holds('L2')\n"
        "def test_a(): ...\n"
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.holds('L4'))])\n"
        "def test_b(x): ...\n"
    )
    assert holders(tmp_path) == {
        "L1": ["tests/test_it.py"],
        "L2": ["tests/test_it.py", "tests/test_it.py::test_a"],
        "L3": ["tests/test_it.py"],
        "L4": ["tests/test_it.py::test_b"],
    }


def test_ids_that_are_not_written_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text("pytestmark = mark.holds(*ROWS)\n")
    with pytest.raises(ValueError, match="line 1"):
        holders(tmp_path)
