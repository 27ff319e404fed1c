"""The gate fails for a known vulnerability, and says so when nobody could be asked."""

import json
from typing import Any

import pytest

from launcher.advisories import judge

pytestmark = pytest.mark.holds("S52")


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


GOOD = {"name": "django", "version": "5.2.19", "vulns": []}
UNKNOWN = {"name": "celery", "skip_reason": "Dependency not found"}
BAD = {
    "name": "gunicorn",
    "version": "20.0",
    "vulns": [{"id": "CVE-2024-1135", "fix_versions": ["22.0.0"], "aliases": []}],
}


@pytest.mark.parametrize(
    ("given", "said", "code", "printed"),
    [
        (report(GOOD, UNKNOWN), "", 0, "     1 of 2 packages looked up\n"),
        (report(GOOD, BAD), "", 1, "gunicorn 20.0: CVE-2024-1135 (mended in 22.0.0)\n"),
        (
            report(UNKNOWN),
            "",
            0,
            "     advisories not reached: the service knows none of 1 packages\n",
        ),
        ("", "ERROR: no route\n", 0, "     advisories not reached: ERROR: no route\n"),
        ("", "", 0, "     advisories not reached: no report\n"),
    ],
)
def test_what_the_gate_makes_of_a_report(
    given: str, said: str, code: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(given, said) == code
    assert capsys.readouterr().out == printed
