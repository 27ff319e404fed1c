"""When .venv is made, from which lock, and what is said where it cannot be."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from launcher import venv
from launcher.system import LauncherError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two locks and no .venv, on a machine without uv and without apt-get."""
    (tmp_path / "requirements.lock").write_text("runtime")
    (tmp_path / "requirements-dev.lock").write_text("runtime and tools")
    monkeypatch.setattr(venv, "ROOT", tmp_path)
    monkeypatch.setattr(venv, "RUNTIME_LOCK", tmp_path / "requirements.lock")
    monkeypatch.setattr(venv, "DEV_LOCK", tmp_path / "requirements-dev.lock")
    monkeypatch.setattr(venv, "apt_install", lambda _packages: False)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    return tmp_path


@pytest.fixture
def installed(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The locks that were installed, in order; nothing is really installed."""
    locks: list[str] = []

    def install(_folder: Path, python: Path, lock: Path) -> None:
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        locks.append(lock.name)

    monkeypatch.setattr(venv, "_install_with_pip", install)
    return locks


def test_it_is_made_once(root: Path, installed: list[str]) -> None:
    for _ in range(2):
        assert venv.ensure(tools=False) == root / ".venv" / "bin" / "python"
    assert installed == ["requirements.lock"]


def test_an_environment_with_the_tools_will_also_do_without(installed: list[str]) -> None:
    venv.ensure(tools=True)
    venv.ensure(tools=False)
    assert installed == ["requirements-dev.lock"]


def test_one_without_the_tools_is_completed(installed: list[str]) -> None:
    venv.ensure(tools=False)
    venv.ensure(tools=True)
    assert installed == ["requirements.lock", "requirements-dev.lock"]


def test_a_changed_lock_is_installed_over_the_old_one(root: Path, installed: list[str]) -> None:
    venv.ensure(tools=False)
    (root / ".venv" / "kept").touch()
    (root / "requirements.lock").write_text("runtime, newer")
    venv.ensure(tools=False)
    assert installed == ["requirements.lock", "requirements.lock"]
    assert (root / ".venv" / "kept").exists()


def test_another_python_gets_a_new_environment(root: Path, installed: list[str]) -> None:
    venv.ensure(tools=False)
    (root / ".venv" / "left").touch()
    (root / ".venv" / ".lock").write_text("whatever 3.10.1\n")
    venv.ensure(tools=False)
    assert installed == ["requirements.lock", "requirements.lock"]
    assert not (root / ".venv" / "left").exists()


def test_an_installation_that_failed_is_not_taken_for_done(
    root: Path, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path, _python: Path, _lock: Path) -> None:
        raise LauncherError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(venv, "_install_with_pip", fail)
        with pytest.raises(LauncherError, match="no network"):
            venv.ensure(tools=False)
    venv.ensure(tools=False)
    assert installed == ["requirements.lock"]


@pytest.mark.usefixtures("root")
def test_a_python_without_its_venv_package_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(LauncherError, match="apt-get install python3-venv"):
        venv.ensure(tools=False)
