"""The scenario files that come with the product, told to a running installation."""

import json
from pathlib import Path

import pytest
from client import Client
from django.core.management import CommandError, call_command

FILES = sorted(Path("examples/scenarios").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=[one.stem for one in FILES])
def test_the_scenario_goes_as_written(
    path: Path, api: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    url = api.root.removesuffix("/api/v1")
    call_command("scenario", "run", str(path), "--url", url, "--key", api.key, "--json")
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["as_expected"], told["taken"], told["differences"]) == (True, told["steps"], [])


def test_a_story_that_goes_otherwise_is_told_and_fails(
    tmp_path: Path, api: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("{name: Wrong, steps: [{get: /invoices, expect: {data.length: 3}}]}")
    url = api.root.removesuffix("/api/v1")
    with pytest.raises(CommandError, match="1 of 1 scenarios went otherwise"):
        call_command(
            "scenario", "run", str(path), "--url", url, "--key", api.key, "--patience", "0"
        )
    assert "FAIL 1 GET /invoices" in capsys.readouterr().out


def test_nothing_is_called_before_every_file_is_right(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{name: A}")
    with pytest.raises(CommandError) as caught:
        call_command(
            "scenario",
            "run",
            str(tmp_path / "a.yaml"),
            str(tmp_path / "b.yaml"),
            "--key",
            "sk_test_x",
        )
    assert "a.yaml: steps: a list is needed" in str(caught.value)
    assert "b.yaml: " in str(caught.value)


def test_a_live_key_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{name: A, steps: [{get: /invoices}]}")
    with pytest.raises(CommandError, match="test mode"):
        call_command("scenario", "run", str(tmp_path / "a.yaml"), "--key", "sk_live_x")
