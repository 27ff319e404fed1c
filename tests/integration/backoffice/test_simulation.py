"""Small simulations: equal to the oracle, the same again, and different where the product is wrong."""

from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.backoffice.management.commands import simulate as command
from apps.backoffice.simulation.run import Verdict, simulate
from apps.invoicing import assembly
from tests.make.tenants import AT
from tests.servers import TestServers, use_database

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def lived_through(*, seed: int, months: int = 2, customers: int = 2) -> Verdict:
    return simulate(
        months=months, customers=customers, seed=seed, wall=AT, say=lambda _sentence: None
    )


@pytest.mark.holds("L7", "U5", "P3", "P8", "M3")
@pytest.mark.parametrize("seed", [1, 2])
def test_everything_billed_is_what_the_raw_facts_say(seed: int) -> None:
    verdict = lived_through(seed=seed, months=3, customers=6)
    assert verdict.differences == []
    assert verdict.customers == 6
    told = (verdict.events, verdict.documents, verdict.changes, verdict.movements, verdict.repeats)
    assert min(told) > 0


def test_the_same_seed_does_the_same_again(servers: TestServers) -> None:
    first = lived_through(seed=3)
    use_database(servers.copy_template())
    second = lived_through(seed=3)
    assert first.lines > 0
    assert _without_faults(first) == _without_faults(second)


def _without_faults(verdict: Verdict) -> Verdict:
    """Leave out what came of faults: others on the server make a statement more."""
    return replace(verdict, interruptions=0, failures=0, cpu_seconds=0)


def test_a_product_that_rounds_otherwise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(amount: Decimal, _currency: str) -> Decimal:
        return amount.quantize(Decimal(1), ROUND_DOWN)

    monkeypatch.setattr(assembly, "round_money", cut_off)
    found = lived_through(seed=4).differences
    assert any("line" in one for one in found), found
    assert any("account" in one for one in found), found


class _Here:
    """In the place of a scratch database: the test's own."""

    def __enter__(self) -> None:
        """Stay where we are."""

    def __exit__(self, *_: object) -> None:
        """Leave it as it is."""


@pytest.mark.parametrize("wrong", [[], ["a line"]])
def test_the_command_tells_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch, wrong: list[str]
) -> None:
    def told(*, months: int, customers: int, seed: int, **_: object) -> Verdict:
        return Verdict(seed, months, customers=customers, differences=wrong)

    monkeypatch.setattr(command, "Scratch", _Here)
    monkeypatch.setattr(command, "simulate", told)
    out = StringIO()
    arguments = {"months": 1, "customers": 3, "seed": 5, "stdout": out}
    if wrong:
        with pytest.raises(CommandError) as error:
            call_command("simulate", **arguments)
        assert error.value.returncode == 1
    else:
        call_command("simulate", **arguments)
    assert "seed 5, months 1, customers 3" in out.getvalue()
    assert ("a line" in out.getvalue()) == bool(wrong)


def test_several_seeds_are_told_in_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*, months: int, customers: int, seed: int, **_: object) -> Verdict:
        wrong = ["a line", "another"] if seed == 4 else []
        return Verdict(seed, months, cpu_seconds=seed, differences=wrong)

    monkeypatch.setattr(command, "Scratch", _Here)
    monkeypatch.setattr(command, "simulate", told)
    out = StringIO()
    with pytest.raises(CommandError) as error:
        call_command("simulate", "--seeds=2,4-5", stdout=out)
    assert error.value.returncode == 1
    assert out.getvalue().splitlines()[-3:] == [
        "seed 2: 0 differences, 2 s of CPU",
        "seed 4: 2 differences, 4 s of CPU",
        "seed 5: 0 differences, 5 s of CPU",
    ]
