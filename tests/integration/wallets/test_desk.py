"""The page of a wallet on the desk: what it shows, and what is done there, by role, for a reason."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.tenants.domain import Mode, Role
from apps.tenants.models import Membership, Operator, Tenant
from apps.wallets.models import CreditGrant, CreditTransaction, Wallet
from tests.make.backoffice import all_breaches
from tests.make.customers import make_customer
from tests.make.tenants import AT, make_clock, make_operator, make_tenant
from tests.make.wallets import (
    DAY,
    fresh_grant,
    fresh_wallet,
    make_grant,
    make_paid,
    make_wallet,
    spend,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT, attach=True)
    return tenant


@pytest.fixture
def wallet(tenant: Tenant) -> Wallet:
    return make_wallet(make_customer(tenant), at=AT - 40 * DAY)


def at_the_desk(tenant: Tenant, role: Role = Role.FINANCE) -> tuple[Client, Operator]:
    operator = make_operator()
    with tenant_scope(tenant.id):
        Membership.objects.create(tenant=tenant, operator=operator, role=role)
    client = Client()
    client.force_login(operator)
    return client, operator


def url(row: Any, verb: str = "") -> str:
    page = f"admin:wallets_{row._meta.model_name}_{'verb' if verb else 'change'}"
    return reverse(page, args=[row.pk, verb] if verb else [row.pk])


def test_the_page_draws_what_was_used(tenant: Tenant, wallet: Wallet) -> None:
    make_grant(wallet, "30.00", at=AT - 39 * DAY)
    for days, amount in ((35, "1.00"), (29, "2.00"), (2, "3.00"), (2, "0.50"), (0, "4.00")):
        spend(wallet, amount, at=AT - days * DAY)
    client, _ = at_the_desk(tenant)
    page = client.get(url(wallet))
    (chart,) = page.context["charts"]
    bars = [shape.bar for shape in chart.drawing.shapes]
    assert (chart.title, len(bars)) == ("Used, in USD, by day", 30)
    assert [(number, bar.value) for number, bar in enumerate(bars) if bar.value] == [
        (0, Decimal(2)),
        (27, Decimal("3.50")),
        (29, Decimal(4)),
    ]
    # 9.50 in thirty days; 19.50 are left
    assert chart.total == "9.5 in thirty days, empty on 2 July 2026 at this pace"
    text = page.content.decode()
    assert "3 May 2026" not in text
    assert [one in text for one in ("1 May 2026: 4 USD", "verb/grant/", "verb/adjust/")] == [
        True
    ] * 3
    # grants and transactions are below it
    assert [text.count(one) for one in ("field-number", "field-remaining")] == [6, 1]


def test_credit_is_given_once_and_audited(tenant: Tenant, wallet: Wallet) -> None:
    client, operator = at_the_desk(tenant)
    given = {"amount": "12.50", "expires_at": "2026-06-01T00:00", "reason": "an outage"}
    answer = {**given, "effect": str(new_id())}
    for _ in range(2):
        assert client.post(url(wallet, "grant"), answer).headers["Location"] == url(wallet)
    grant = CreditGrant.objects.get(wallet=wallet)
    assert (grant.amount, grant.kind, grant.reason) == (Decimal("12.5"), "promotional", "an outage")
    assert grant.expires_at == AT.replace(month=6, hour=0)
    event = AuditEvent.objects.get(type="credit_grant.available")
    assert (event.actor, event.at) == (f"operator:{operator.public_id}", AT)
    assert fresh_wallet(wallet).balance == Decimal("12.5")


@pytest.mark.parametrize(
    ("verb", "given", "field"),
    [
        ("grant", {"amount": "1"}, "reason"),
        ("grant", {"reason": "x"}, "amount"),
        ("grant", {"amount": "0", "reason": "x"}, "amount"),
        ("grant", {"amount": "-1", "reason": "x"}, "amount"),
        ("grant", {"amount": "NaN", "reason": "x"}, "amount"),
        ("grant", {"amount": "1", "expires_at": "soon", "reason": "x"}, "expires_at"),
        ("adjust", {"amount": "1", "reason": "  "}, "reason"),
        ("adjust", {"amount": "1", "reason": "x" * 501}, "reason"),
    ],
)
def test_nothing_is_done_without_amount_and_reason(
    tenant: Tenant, wallet: Wallet, verb: str, given: dict[str, str], field: str
) -> None:
    client, _ = at_the_desk(tenant)
    page = client.post(url(wallet, verb), given)
    assert (page.status_code, list(page.context["form"].errors)) == (200, [field])
    assert CreditTransaction.objects.count() == 0


def test_an_adjustment_adds_or_takes(tenant: Tenant, wallet: Wallet) -> None:
    given, paid = make_grant(wallet, "3.00"), make_paid(wallet, "5.00")
    client, operator = at_the_desk(tenant)
    for amount, balance in (("2.00", 10), ("-4.00", 6)):
        answer = {"amount": amount, "reason": "counted wrongly", "effect": str(new_id())}
        for _ in range(2):
            client.post(url(wallet, "adjust"), answer)
        assert fresh_wallet(wallet).balance == balance
    # promotional credit goes first, the older before the newer
    assert [fresh_grant(one).remaining for one in (given, paid)] == [0, 5]
    taken = CreditTransaction.objects.filter(wallet=wallet, kind="void").order_by("number")
    assert [(one.amount, one.reason) for one in taken] == [
        (Decimal(-3), "counted wrongly"),
        (Decimal(-1), "counted wrongly"),
    ]
    event = AuditEvent.objects.get(type="wallet.adjusted")
    assert (event.actor, event.data) == (
        f"operator:{operator.public_id}",
        {"amount": "-4", "reason": "counted wrongly"},
    )
    page = client.post(url(wallet, "adjust"), {"amount": "-6.01", "reason": "x"}, follow=True)
    assert [one.level_tag for one in page.context["messages"]][-1] == "error"
    assert fresh_wallet(wallet).balance == 6
    client.post(url(wallet, "adjust"), {"amount": "-6.00", "reason": "x"})
    assert fresh_wallet(wallet).balance == 0
    assert [one for one in all_breaches() if "credit_is_sold_at_its_price" not in one] == []


def test_a_grant_is_taken_back_in_part(tenant: Tenant, wallet: Wallet) -> None:
    grant = make_grant(wallet, "3.00")
    client, _ = at_the_desk(tenant)
    client.post(url(grant, "void"), {"amount": "1.00", "reason": ""})
    assert fresh_grant(grant).remaining == 3
    client.post(url(grant, "void"), {"amount": "1.00", "reason": "given twice"})
    assert fresh_grant(grant).remaining == 2
    client.post(url(grant, "void"), {"amount": "", "reason": "given twice"})
    assert (fresh_grant(grant).remaining, fresh_grant(grant).status) == (0, "voided")


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.DEVELOPER, Role.READ_ONLY])
def test_who_may_only_read_changes_nothing(tenant: Tenant, wallet: Wallet, role: Role) -> None:
    client, _ = at_the_desk(tenant, role)
    answer = {"amount": "1.00", "reason": "x"}
    assert [client.post(url(wallet, verb), answer).status_code for verb in ("grant", "adjust")] == [
        403,
        403,
    ]
    assert fresh_wallet(wallet).balance == 0
