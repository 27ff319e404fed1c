"""Tenants, keys, members and clocks: repeats, and what the database refuses."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from threading import Barrier, Thread
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from apps.core.constraints import broken
from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.money import CurrencyUnknown
from apps.core.tenancy import enter_tenant, tenant_scope
from apps.rating.periods import ZoneUnknown
from apps.tenants.domain import (
    ClockBackwards,
    ExpiryPast,
    LastOwner,
    Mode,
    Role,
    ScopeUnknown,
    SlugTaken,
)
from apps.tenants.models import ApiKey, Membership, Tenant, TestClock
from apps.tenants.operations import (
    add_member,
    attach_clock,
    change_role,
    create_api_key,
    create_clock,
    create_tenant,
    flag_exposed_key,
    move_clock,
    remove_member,
    revoke_api_key,
    rotate_api_key,
)
from apps.tenants.queries import principal_for_key, tenant_named, tenant_now, tenant_of, tenants_of
from tests.make.tenants import (
    ACTOR,
    AT,
    make_clock,
    make_key,
    make_member,
    make_operator,
    make_tenant,
)
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

Attempt = Callable[[], object]


def test_a_repeat_with_the_same_id_returns_what_is_there() -> None:
    tenant_id, key_id, clock_id, member_id, new_key = (new_id() for _ in range(5))

    def everything() -> list[object]:
        tenant = create_tenant(
            id=tenant_id, slug="acme", name="A", currency="USD", zone="UTC", actor=ACTOR, at=AT
        )
        key, _ = create_api_key(
            tenant.id, id=key_id, name="k", scopes=["*:read"], actor=ACTOR, at=AT
        )
        other, _ = rotate_api_key(
            key.id, id=new_key, overlap=timedelta(hours=1), actor=ACTOR, at=AT
        )
        with tenant_scope(tenant.twin_id):
            clock = create_clock(tenant.twin_id, id=clock_id, name="c", now=AT, actor=ACTOR, at=AT)
        member = add_member(
            tenant.id, id=member_id, email="a@acme.example", role=Role.OWNER, actor=ACTOR, at=AT
        )
        return [tenant, key, other, clock, member]

    enter_tenant(tenant_id)
    first = everything()
    with as_superuser():
        events = AuditEvent.objects.count()
    assert everything() == first
    with as_superuser():
        assert AuditEvent.objects.count() == events
        counts = (Tenant.objects.count(), ApiKey.objects.count(), TestClock.objects.count())
        assert counts == (2, 2, 1)


def test_what_no_tenant_can_have() -> None:
    make_tenant(slug="taken")
    attempts: list[tuple[Attempt, type[Exception]]] = [
        (lambda: make_tenant(slug="taken"), SlugTaken),
        (lambda: make_tenant(currency="XXX"), CurrencyUnknown),
        (lambda: make_tenant(zone="Mars/Base"), ZoneUnknown),
    ]
    for attempt, error in attempts:
        with pytest.raises(error), transaction.atomic():
            attempt()
    assert Tenant.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_one_slug_is_taken_once_by_many_at_the_same_moment() -> None:
    barrier, outcomes = Barrier(6), []

    def go() -> None:
        barrier.wait()
        try:
            outcomes.append(str(make_tenant(slug="acme").mode))
        except SlugTaken:
            outcomes.append("taken")
        connection.close()

    threads = [Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["live"] + ["taken"] * 5
    assert Tenant.objects.count() == 2


def test_who_a_key_stands_for() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    secret = make_key(tenant, scopes=["events:write"])
    wall = datetime(2026, 6, 1, tzinfo=UTC)
    principal = principal_for_key(secret, wall=wall)
    assert (principal.tenant_id, principal.twin_id, principal.at) == (
        tenant.id,
        tenant.twin_id,
        wall,
    )
    clock = make_clock(tenant, attach=True)
    assert principal_for_key(secret, wall=wall).at == clock.now == AT
    assert tenant_now(tenant_of(tenant.id), wall=wall) == AT


def test_what_no_key_can_be() -> None:
    tenant = make_tenant()
    for values, error in (
        ({"scopes": []}, ScopeUnknown),
        ({"scopes": ["events:write", "x:y"]}, ScopeUnknown),
        ({"scopes": ["*:read"], "expires_at": AT}, ExpiryPast),
    ):
        with pytest.raises(error):
            create_api_key(tenant.id, id=new_id(), name="k", actor=ACTOR, at=AT, **values)
    for missing in (
        lambda: create_api_key(
            new_id(), id=new_id(), name="k", scopes=["*:read"], actor="x", at=AT
        ),
        lambda: revoke_api_key(new_id(), actor=ACTOR, at=AT),
        lambda: move_clock(new_id(), to=AT, actor=ACTOR, at=AT),
        lambda: change_role(new_id(), role=Role.ADMIN, actor=ACTOR, at=AT),
        lambda: tenant_of(new_id()),
        lambda: tenant_named("nowhere"),
    ):
        with pytest.raises(NotFound):
            missing()


def test_what_is_no_key_is_not_flagged() -> None:
    flag_exposed_key("sk_live_nonsense", at=AT)
    assert not AuditEvent.objects.filter(type="api_key.exposed").exists()


def test_tenants_by_name_and_mode() -> None:
    live = make_tenant(slug="acme")
    test = Tenant.objects.get(pk=live.twin_id)
    found = {
        ("acme", None): live,
        ("acme", Mode.TEST): test,
        (live.public_id, None): live,
        (test.public_id, None): test,
        (live.public_id, Mode.TEST): test,
        (test.public_id, Mode.LIVE): live,
    }
    assert {names: tenant_named(*names) for names in found} == found


def test_an_operator_sees_both_modes_of_his_companies() -> None:
    tenant = make_tenant()
    make_tenant()
    operator = make_member(tenant).operator
    assert {one.id for one in tenants_of(operator)} == {tenant.id, tenant.twin_id}
    assert tenants_of(make_operator(is_superuser=True)).count() == 4
    assert tenants_of(make_operator()).count() == 0


def test_membership_is_kept_at_the_live_tenant() -> None:
    test = make_tenant(mode=Mode.TEST)
    member = add_member(
        test.id, id=new_id(), email="a@acme.example", role=Role.OWNER, actor=ACTOR, at=AT
    )
    assert member.tenant_id == test.twin_id


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_remove_each_other_leave_one() -> None:
    tenant = make_tenant()
    members = [make_member(tenant), make_member(tenant)]
    barrier, outcomes = Barrier(2), []

    def go(member: Membership) -> None:
        barrier.wait()
        try:
            remove_member(member.id, actor=ACTOR, at=AT)
            outcomes.append("removed")
        except LastOwner:
            outcomes.append("kept")
        connection.close()

    threads = [Thread(target=go, args=(one,)) for one in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["kept", "removed"]
    assert Membership.objects.get().role == Role.OWNER


def test_a_clock_moves_forward_only() -> None:
    clock = make_clock(make_tenant(mode=Mode.TEST))
    later = AT + timedelta(days=40)
    assert move_clock(clock.id, to=later, actor=ACTOR, at=AT).now == later
    assert move_clock(clock.id, to=later, actor=ACTOR, at=AT).now == later
    with pytest.raises(ClockBackwards):
        move_clock(clock.id, to=AT, actor=ACTOR, at=AT)
    assert AuditEvent.objects.filter(type="test_clock.advanced").count() == 1


def test_a_clock_of_another_tenant_cannot_be_attached() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    with pytest.raises(NotFound):
        attach_clock(tenant.id, make_clock(make_tenant(mode=Mode.TEST)).id, actor=ACTOR, at=AT)


def run(statement: str, values: dict[str, UUID]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE tenants_tenant SET mode = 'beta' WHERE id = %(live)s", "tenant_mode_known"),
        (
            "UPDATE tenants_tenant SET mode = 'test' WHERE id = %(live)s",
            "one_tenant_per_slug_and_mode",
        ),
        ("UPDATE tenants_tenant SET slug = 'x' WHERE id = %(live)s", "tenant_twins"),
        (
            "UPDATE tenants_tenant SET twin_id = id WHERE id = %(live)s",
            "tenants_tenant_twin_id_key",
        ),
        ("UPDATE tenants_tenant SET currency = 'usd' WHERE id = %(live)s", "tenant_currency_form"),
        (
            "UPDATE tenants_tenant SET grace_period = interval '-1 s' WHERE id = %(live)s",
            "tenant_durations_not_negative",
        ),
        (
            "UPDATE tenants_tenant SET test_clock_id = %(clock)s WHERE id = %(live)s",
            "live_tenant_on_real_time",
        ),
        (
            "UPDATE tenants_tenant SET test_clock_id = %(other_clock)s WHERE id = %(test)s",
            "tenant_on_own_clock",
        ),
        (
            "UPDATE tenants_testclock SET now = now - interval '1 s' WHERE id = %(clock)s",
            "clock_moves_forward",
        ),
        (
            "UPDATE tenants_testclock SET tenant_id = %(live)s WHERE id = %(clock)s",
            "clock_moves_forward",
        ),
        ("UPDATE tenants_membership SET role = 'king'", "member_role_known"),
    ],
)
def test_what_the_database_refuses(statement: str, constraint: str) -> None:
    test = make_tenant(mode=Mode.TEST)
    clock, other_clock = make_clock(test), make_clock(make_tenant(mode=Mode.TEST))
    make_member(test)
    values = {
        "live": test.twin_id,
        "test": test.id,
        "clock": clock.id,
        "other_clock": other_clock.id,
    }
    with as_superuser(), pytest.raises(IntegrityError) as raised, transaction.atomic():
        run(statement, values)
    assert broken(raised.value) == constraint


def test_the_command_makes_a_key_that_opens() -> None:
    live = make_tenant(slug="acme")
    out = StringIO()
    call_command(
        "create_api_key", tenant="acme", mode="test", scopes="events:write", json=True, stdout=out
    )
    made = json.loads(out.getvalue())
    principal = principal_for_key(made["secret"], wall=AT)
    assert (principal.tenant_id, principal.scopes) == (live.twin_id, frozenset({"events:write"}))
    assert (made["mode"], made["slug"], made["scopes"]) == ("test", "acme", ["events:write"])
    plain = StringIO()
    call_command("create_api_key", tenant=live.public_id, stdout=plain)
    secret = plain.getvalue().splitlines()[-1]
    assert principal_for_key(secret, wall=AT).scopes == frozenset({"*:read", "*:write"})
    for wrong in ({"tenant": "nowhere"}, {"tenant": "acme", "scopes": "x"}):
        with pytest.raises(CommandError):
            call_command("create_api_key", **wrong)
    with as_superuser():
        assert ApiKey.objects.count() == 2
