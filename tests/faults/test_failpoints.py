"""The failpoints themselves: nothing in production, exactly what is asked for in the harness."""

import ast
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from apps.core import failpoints
from apps.core.failpoints import POINTS, FailpointReached, arm, failpoint
from launcher.system import ROOT

POINT = "core.jobs.after_claim"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(failpoints, "_harness", failpoints._Harness())  # noqa: SLF001 -- given back
    arm(str(tmp_path), allowed=True)
    return tmp_path


def test_every_point_is_called_by_its_name_and_no_other_is() -> None:
    called = [
        node.args[0]
        for path in ROOT.glob("apps/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "failpoint"
    ]
    names = [str(name.value) for name in called if isinstance(name, ast.Constant)]
    assert len(names) == len(called)
    assert sorted(names) == sorted(POINTS)


def test_nothing_happens_where_nothing_is_armed(tmp_path: Path) -> None:
    arm("", allowed=False)
    failpoint(POINT)
    failpoint("no such point")
    assert list(tmp_path.iterdir()) == []


def test_an_installation_refuses_to_be_armed() -> None:
    with pytest.raises(ImproperlyConfigured, match="FAILPOINTS lets processes die on purpose"):
        arm("/anywhere", allowed=False)


@pytest.mark.parametrize(("said", "code"), [({}, 1), ({"FAULT_HARNESS": "yes"}, 0)])
def test_no_process_of_it_starts(tmp_path: Path, said: dict[str, str], code: int) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "DEBUG"}
    program = "import django; django.setup()"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**environ, "FAILPOINTS": str(tmp_path), **said},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert ("take it out of the environment" in ended.stderr) is bool(code)


def test_a_point_that_nobody_knows_is_a_mistake(folder: Path) -> None:
    with pytest.raises(LookupError, match="not among"):
        failpoint("no such point")


def test_an_action_happens_at_its_hit_and_hits_are_counted(folder: Path) -> None:
    (folder / "armed").write_text(f"{POINT}:2:raise")
    failpoint(POINT)
    with pytest.raises(FailpointReached, match=POINT):
        failpoint(POINT)
    failpoint(POINT)
    failpoint("core.jobs.after_work")
    assert (folder / "hits" / POINT).stat().st_size == 3


def test_an_action_can_happen_every_time(folder: Path) -> None:
    (folder / "armed").write_text(f"{POINT}:*:raise")
    for _ in range(2):
        with pytest.raises(FailpointReached):
            failpoint(POINT)


def test_who_waits_goes_on_when_the_line_is_taken_away(folder: Path) -> None:
    (folder / "armed").write_text(f"{POINT}:1:wait")
    waiting = threading.Thread(target=failpoint, args=[POINT])
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    (folder / "armed").unlink()
    waiting.join(60)
    assert not waiting.is_alive()
