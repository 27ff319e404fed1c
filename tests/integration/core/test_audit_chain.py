"""The hash chain: everything is linked, in an order that never changes, and tampering shows."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from threading import Event, Thread
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from apps.core.audit import GENESIS, chain_end, link, seal_events, verify_chain
from apps.core.events import Happening, record_all
from apps.core.ids import encode, new_id
from apps.core.models import AuditEvent, AuditHead, AuditPending, AuditSeal
from apps.core.tenancy import enter_tenant, tenant_scope
from tests.make.neighbours import outlive_neighbours
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db(transaction=True)

AT = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def happen(tenant_id: UUID, *numbers: int) -> None:
    with tenant_scope(tenant_id), transaction.atomic():
        record_all(
            [
                Happening("paper.read", tenant_id, "pap", new_id(), {"n": n, "ä": "ö\n", "x": None})
                for n in numbers
            ],
            actor="system:test",
            at=AT,
        )
    outlive_neighbours()


def entered() -> UUID:
    """Return a new tenant's id, in whose scope the test goes on."""
    tenant_id = new_id()
    enter_tenant(tenant_id)
    return tenant_id


def verify(tenant_id: UUID) -> list[str]:
    with tenant_scope(tenant_id):
        return list(verify_chain(tenant_id))


def order_of(tenant_id: UUID) -> list[int]:
    seals = AuditSeal.objects.filter(tenant_id=tenant_id).select_related("event")
    with tenant_scope(tenant_id):
        return [seal.event.data["n"] for seal in seals.order_by("number")]


@contextmanager
def without_triggers() -> Iterator[None]:
    """What somebody can do who owns the database."""
    with transaction.atomic(), as_superuser(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield


def test_events_are_linked_once_in_the_order_of_their_transactions() -> None:
    one, other = entered(), new_id()
    happen(one, 1)
    happen(other, 1)
    happen(one, 2)
    assert seal_events() == 3
    happen(one, 3, 4)
    assert [seal_events(), seal_events()] == [2, 0]
    assert (order_of(one), order_of(other)) == ([1, 2, 3, 4], [1])
    assert AuditPending.objects.count() == 0
    assert [verify(one), verify(other)] == [[], []]
    digest = GENESIS
    for seal in AuditSeal.objects.filter(tenant_id=one).order_by("number"):
        digest = link(digest, seal.number, seal.event)
        assert bytes(seal.hash) == digest
    assert chain_end(one) == (4, digest)


def test_small_batches_make_the_same_chain() -> None:
    tenant = entered()
    happen(tenant, *range(7))
    assert seal_events(batch=2) == 7
    assert list(verify_chain(tenant)) == []
    assert AuditHead.objects.get(tenant_id=tenant).number == 7


@pytest.mark.holds("U10", "F22")
def test_nothing_is_linked_before_older_transactions_have_ended() -> None:
    tenant = entered()
    begun, finish = Event(), Event()

    def slow() -> None:
        with transaction.atomic():
            record_all(
                [Happening("paper.read", tenant, "pap", new_id(), {"n": 1})], actor="x", at=AT
            )
            begun.set()
            finish.wait(timeout=20)
        connection.close()

    thread = Thread(target=slow)
    thread.start()
    begun.wait(timeout=20)
    happen(tenant, 2)  # a later transaction that commits first
    assert seal_events() == 0
    finish.set()
    thread.join()
    outlive_neighbours()
    assert seal_events() == 2
    assert order_of(tenant) == [1, 2]
    assert list(verify_chain(tenant)) == []


def test_two_sealers_at_once_link_every_event_once() -> None:
    tenant = entered()
    for number in range(30):
        happen(tenant, number)
    sealed: list[int] = []

    def seal() -> None:
        sealed.append(seal_events(batch=3))
        connection.close()

    threads = [Thread(target=seal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sealed) == 30
    assert order_of(tenant) == list(range(30))
    assert list(verify_chain(tenant)) == []


def test_rows_of_a_restored_database_are_linked_although_their_transaction_is_to_come() -> None:
    tenant = entered()
    happen(tenant, 1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE core_auditpending SET written_xid = '99999999999'::xid8")
    happen(tenant, 2)
    assert seal_events() == 2
    assert sorted(order_of(tenant)) == [1, 2]
    assert list(verify_chain(tenant)) == []


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE core_auditevent SET data = jsonb_set(data, '{n}', '9') WHERE id = %(third)s",
        "UPDATE core_auditevent SET actor = 'nobody' WHERE id = %(third)s",
        "UPDATE core_auditevent SET at = at + interval '1 microsecond' WHERE id = %(third)s",
        "UPDATE core_auditevent SET object_id = 'pap_x' WHERE id = %(third)s",
        "UPDATE core_auditevent SET type = 'paper.lost' WHERE id = %(third)s",
        "UPDATE core_auditseal SET hash = sha256('x') WHERE event_id = %(third)s",
        "UPDATE core_auditseal SET event_id = %(stranger)s WHERE event_id = %(third)s",
        "DELETE FROM core_auditseal WHERE event_id = %(third)s",
        "DELETE FROM core_auditevent WHERE id = %(third)s",
    ],
)
@pytest.mark.holds("S55", "T4")
def test_what_is_changed_shows_where(tampering: str) -> None:
    tenant = entered()
    happen(tenant, 1, 2, 3, 4, 5)
    seal_events()
    happen(tenant, 6)
    third = AuditSeal.objects.get(tenant_id=tenant, number=3).event_id
    stranger = AuditEvent.objects.get(tenant_id=tenant, data__n=6).id
    with without_triggers(), connection.cursor() as cursor:
        cursor.execute(tampering, {"third": third, "stranger": stranger})
        assert cursor.rowcount == 1
    found = list(verify_chain(tenant))
    assert len(found) == 1
    assert found[0].startswith("broken at 3: paper.")


@pytest.mark.holds("S55")
def test_a_tail_that_is_cut_off_shows_at_the_head() -> None:
    tenant = entered()
    happen(tenant, 1, 2, 3)
    seal_events()
    with without_triggers(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM core_auditseal WHERE tenant_id = %s AND number = 3", [tenant])
    assert list(verify_chain(tenant)) == ["the chain ends at 2, but its head says 3"]


def test_a_head_that_is_set_back_shows_at_the_seals() -> None:
    tenant = entered()
    happen(tenant, 1, 2, 3)
    seal_events()
    second = AuditSeal.objects.get(tenant_id=tenant, number=2)
    AuditHead.objects.filter(tenant_id=tenant).update(number=2, hash=bytes(second.hash))
    assert list(verify_chain(tenant)) == ["there are seals up to 3, but the head says 2"]
    AuditHead.objects.filter(tenant_id=tenant).delete()
    assert list(verify_chain(tenant)) == ["there are seals up to 3, but the head says 0"]
    assert chain_end(tenant) == (0, GENESIS)


def test_an_end_that_was_kept_elsewhere_shows_a_chain_that_was_made_anew() -> None:
    tenant = entered()
    happen(tenant, 1, 2, 3)
    seal_events()
    kept = chain_end(tenant)
    with without_triggers(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM core_auditseal WHERE tenant_id = %s", [tenant])
        cursor.execute("DELETE FROM core_audithead WHERE tenant_id = %s", [tenant])
        cursor.execute("UPDATE core_auditevent SET actor = 'nobody' WHERE tenant_id = %s", [tenant])
        cursor.execute(
            "INSERT INTO core_auditpending (event_id, tenant_id)"
            " SELECT id, tenant_id FROM core_auditevent WHERE tenant_id = %s",
            [tenant],
        )
    outlive_neighbours()
    seal_events()
    assert list(verify_chain(tenant)) == []
    assert chain_end(tenant) != kept


def verified(**options: object) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("verify_audit", stdout=out, **options)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def test_the_command_seals_verifies_and_tells_by_its_exit_code() -> None:
    good, bad = entered(), new_id()
    happen(good, 1, 2)
    happen(bad, 1, 2)
    code, said = verified(json=True)
    chains = {one["tenant"]: one for one in json.loads(said)["chains"]}
    assert (code, json.loads(said)["holds"]) == (0, True)
    end = chain_end(good)
    assert end is not None
    assert chains[encode("ten", good)] == {
        "tenant": encode("ten", good),
        "events": 2,
        "end": end[1].hex(),
        "problems": [],
    }
    with without_triggers(), connection.cursor() as cursor:
        cursor.execute("UPDATE core_auditevent SET actor = 'x' WHERE tenant_id = %s", [bad])
    code, said = verified()
    assert code == 1
    assert f"{encode('ten', good)}: 2 events" in said
    assert "broken at 1: paper.read aud_" in said
    assert verified(tenant=encode("ten", good))[0] == 0
    assert verified(tenant=encode("ten", bad))[0] == 1
    with pytest.raises(CommandError, match="ten_"):
        call_command("verify_audit", tenant="acme")
