"""A wallet against a plain model of it: whatever is done, in whatever order, both say the same."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from apps.core.tenancy import tenant_scope
from apps.tenants.models import Tenant
from apps.wallets.domain import InsufficientCredit
from apps.wallets.models import CreditHold, Wallet
from apps.wallets.operations.due import apply_due
from apps.wallets.operations.spending import capture_hold, release_hold
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.make.wallets import (
    broken_rules,
    fresh_wallet,
    hold,
    make_grant,
    make_paid,
    make_wallet,
    spend,
)

HOUR = timedelta(hours=1)
FIVE, THREE = Decimal(5), Decimal(3)


@dataclass
class _Grant:
    left: Decimal
    priority: int
    expires_at: datetime | None
    promotional: bool
    number: int


class _Model:
    """Credit as a list; nothing is kept that could be reckoned."""

    def __init__(self) -> None:
        self.grants: list[_Grant] = []
        self.holds: list[tuple[CreditHold, list[tuple[_Grant, Decimal]]]] = []

    def valid(self, at: datetime) -> list[_Grant]:
        found = [
            one
            for one in self.grants
            if one.left and (one.expires_at is None or one.expires_at > at)
        ]
        far = AT + timedelta(days=9999)
        return sorted(
            found, key=lambda g: (g.priority, g.expires_at or far, not g.promotional, g.number)
        )

    def balance(self, at: datetime) -> Decimal:
        return sum((one.left for one in self.valid(at)), Decimal(0))

    def take(self, amount: Decimal, at: datetime) -> list[tuple[_Grant, Decimal]]:
        parts = []
        for one in self.valid(at):
            taken = min(one.left, amount)
            if taken:
                one.left -= taken
                amount -= taken
                parts.append((one, taken))
        assert amount == 0
        return parts


amounts = st.decimals("0.01", "6", places=2)
steps = st.one_of(
    st.tuples(
        st.just("grant"), amounts, st.integers(1, 2), st.sampled_from([None, 1, 3]), st.booleans()
    ),
    st.tuples(st.just("spend"), amounts),
    st.tuples(st.just("spend all")),
    st.tuples(st.just("hold"), amounts),
    st.tuples(st.just("capture"), st.integers(0, 100)),
    st.tuples(st.just("release")),
    st.tuples(st.just("pass"), st.sampled_from([0, 1])),
    st.tuples(st.just("to the next expiry")),
)


@pytest.mark.holds("W1")
@pytest.mark.slow
@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(st.lists(steps, min_size=6, max_size=14))
@example([("grant", FIVE, 1, None, False), ("grant", THREE, 1, 3, False), ("spend", FIVE)]).via(
    "what expires sooner goes first"
)
@example(
    [("grant", FIVE, 1, 1, False), ("hold", THREE), ("to the next expiry",), ("capture", 50)]
).via("what was held comes back to credit that has expired")
@example([("grant", FIVE, 1, 1, True), ("hold", THREE), ("to the next expiry",), ("release",)]).via(
    "the same, released"
)
@example([("grant", FIVE, 1, 1, False), ("to the next expiry",), ("spend", Decimal("0.01"))]).via(
    "nothing is used at its expiry"
)
def test_a_wallet_is_what_the_model_says(db: None, done: list[Any]) -> None:
    tenant = make_tenant()
    with tenant_scope(tenant.id):
        wallet = make_wallet(make_customer(tenant))
        model, at = _Model(), AT
        for number, (what, *values) in enumerate(done):
            at = _advance(model, what, values, at)
            _do(tenant, wallet, model, what, values, number, at)
            apply_due(at, tenant_id=tenant.id)
            row = fresh_wallet(wallet)
            held = sum((part for _, parts in model.holds for _, part in parts), Decimal(0))
            assert (row.balance, row.held) == (model.balance(at), held), (what, values)
        assert broken_rules() == []


def _advance(model: _Model, what: str, values: list[Any], at: datetime) -> datetime:
    if what == "pass":
        hours: int = values[0]
        return at + hours * HOUR
    if what == "to the next expiry":
        ends = [one.expires_at for one in model.grants if one.expires_at and one.expires_at > at]
        return min(ends, default=at)
    return at


def _do(  # noqa: PLR0917 -- one call, above
    tenant: Tenant,
    wallet: Wallet,
    model: _Model,
    what: str,
    values: list[Any],
    number: int,
    at: datetime,
) -> None:
    match what:
        case "grant":
            amount, priority, hours, promotional = values
            ends = None if hours is None else at + hours * HOUR
            make = make_grant if promotional else make_paid
            make(wallet, str(amount), at=at, priority=priority, expires_at=ends)
            model.grants.append(_Grant(amount, priority, ends, promotional, number))
        case "spend" | "spend all":
            amount = values[0] if values else model.balance(at)
            if amount > model.balance(at):
                with pytest.raises(InsufficientCredit):
                    spend(wallet, str(amount), at=at)
            elif amount:
                assert spend(wallet, str(amount), at=at) == [
                    part for _, part in model.take(amount, at)
                ]
        case "hold" if values[0] <= model.balance(at):
            held = hold(wallet, str(values[0]), at=at, lasts=timedelta(days=99))
            model.holds.append((held, model.take(values[0], at)))
        case "capture" if model.holds:
            held, parts = model.holds.pop(0)
            whole = sum((part for _, part in parts), Decimal(0))
            amount = (whole * values[0] / 100).quantize(Decimal("0.01"))
            capture_hold(held.id, tenant_id=tenant.id, amount=amount, actor=ACTOR, at=at)
            for grant, part in parts:
                kept = max(part - amount, Decimal(0))
                amount = max(amount - part, Decimal(0))
                grant.left += kept
        case "release" if model.holds:
            held, parts = model.holds.pop(0)
            release_hold(held.id, tenant_id=tenant.id, actor=ACTOR, at=at)
            for grant, part in parts:
                grant.left += part
        case _:
            pass
