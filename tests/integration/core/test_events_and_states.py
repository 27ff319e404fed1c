"""Recording what happened, and moving from one status to another."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import connection, models, transaction
from django.db.transaction import atomic
from django.test.utils import isolate_apps
from pytest_django import DjangoAssertNumQueries

from apps.core.events import Happening, record, record_all
from apps.core.ids import encode, new_id
from apps.core.models import AuditEvent, AuditPending, Job
from apps.core.states import IllegalTransition, Stateful, move, move_all, move_rows
from apps.core.tenancy import current_tenant, enter_tenant, tenant_scope
from tests.make.customers import make_customer
from tests.make.tenants import make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

AT: Final = datetime(2026, 5, 1, 12, tzinfo=UTC)
ACTOR: Final = "operator:opr_x"


class Status(StrEnum):
    DRAFT = "draft"
    OPEN = "open"
    DONE = "done"


ALLOWED: Final[Mapping[Status, frozenset[Status]]] = {
    Status.DRAFT: frozenset({Status.OPEN, Status.DONE}),
    Status.OPEN: frozenset({Status.DONE}),
    Status.DONE: frozenset(),
}


def entered() -> UUID:
    """Return a new tenant's id, in whose scope the test goes on."""
    tenant_id = new_id()
    enter_tenant(tenant_id)
    return tenant_id


@pytest.fixture
def paper() -> Iterator[type[Any]]:
    """A model with a status and its table, for one test."""
    with isolate_apps("apps.core"):

        class PaperSlip(Stateful):
            ID_PREFIX = "pap"
            tenant_id = models.UUIDField()
            note = models.CharField(max_length=20, default="")

            class Meta:
                app_label = "core"

        with as_superuser(), connection.schema_editor() as editor:
            editor.create_model(PaperSlip)
            editor.execute("GRANT ALL ON core_paperslip TO billing")
        yield PaperSlip


def test_an_event_says_what_happened_to_what_by_whom_and_when() -> None:
    customer = make_customer()
    record("customer.praised", customer, actor=ACTOR, at=AT, stars=5, by="Ada", in_public=False)
    event = AuditEvent.objects.get(type="customer.praised")
    assert (
        event.tenant_id,
        event.object_type,
        event.object_id,
        event.actor,
        event.at,
        event.data,
    ) == (
        customer.tenant_id,
        "customer",
        customer.public_id,
        ACTOR,
        AT,
        {"stars": 5, "by": "Ada", "in_public": False},
    )
    assert AuditPending.objects.filter(event_id=event.id, tenant_id=customer.tenant_id).exists()


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_nothing_can_be_recorded() -> None:
    customer = make_customer()
    before = AuditEvent.objects.count()
    with pytest.raises(RuntimeError, match="in the transaction"):
        record("customer.praised", customer, actor=ACTOR, at=AT)
    assert AuditEvent.objects.count() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.holds("J3", "T4")
def test_events_and_their_jobs_exist_exactly_if_the_change_does(settings: Any) -> None:
    settings.REACTIONS = {"customer.praised": ("tests.thank", "tests.remember")}
    customer = make_customer()
    with suppress(ZeroDivisionError), transaction.atomic():
        record("customer.praised", customer, actor=ACTOR, at=AT)
        assert (
            AuditEvent.objects.filter(type="customer.praised").count(),
            Job.objects.count(),
        ) == (
            1,
            2,
        )
        raise ZeroDivisionError
    assert (AuditEvent.objects.filter(type="customer.praised").count(), Job.objects.count()) == (
        0,
        0,
    )
    with transaction.atomic():
        record("customer.praised", customer, actor=ACTOR, at=AT)
    assert AuditEvent.objects.filter(type="customer.praised").count() == 1
    assert {
        (job.name, job.tenant_id, job.state, str(job.arguments)) for job in Job.objects.all()
    } == {
        (name, customer.tenant_id, "pending", str({"subject": str(customer.id)}))
        for name in ("tests.thank", "tests.remember")
    }


def test_many_events_take_two_statements(
    settings: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings.REACTIONS = {"paper.read": ("tests.file",)}
    tenant = new_id()
    enter_tenant(tenant)
    ids = [new_id() for _ in range(50)]
    with django_assert_num_queries(2):
        record_all(
            [Happening("paper.read", tenant, "pap", one, {"page": 1}) for one in ids],
            actor=ACTOR,
            at=AT,
        )
    assert [event.object_id for event in AuditEvent.objects.order_by("id")] == sorted(
        encode("pap", one) for one in ids
    )
    assert Job.objects.count() == 50
    record_all([], actor=ACTOR, at=AT)
    assert AuditEvent.objects.count() == 50


@pytest.mark.holds("T4")
def test_an_event_is_never_changed() -> None:
    event = AuditEvent.objects.filter(tenant_id=make_tenant().id).get()
    for change in (
        lambda: AuditEvent.objects.filter(id=event.id).update(actor="x"),
        lambda: AuditEvent.objects.filter(id=event.id).delete(),
        lambda: connection.cursor().execute("TRUNCATE core_auditevent CASCADE"),
    ):
        with (
            as_superuser(),
            pytest.raises(Exception, match="append-only"),
            transaction.atomic(),
        ):
            change()


def make_paper(paper: type[Any], status: Status = Status.DRAFT) -> Any:
    return paper.objects.create(tenant_id=current_tenant() or entered(), status=status)


def test_moving_sets_saves_and_records(paper: type[Any]) -> None:
    row = make_paper(paper)
    row.note = "signed"
    move(row, to=Status.OPEN, allowed=ALLOWED, actor=ACTOR, at=AT, also=["note"], pages=3)
    row.refresh_from_db()
    assert (row.status, row.note) == ("open", "signed")
    event = AuditEvent.objects.get()
    assert (event.type, event.object_type, event.object_id, event.data) == (
        "paper_slip.open",
        "paper_slip",
        row.public_id,
        {"was": "draft", "pages": 3},
    )


def test_a_move_saves_only_what_it_names(paper: type[Any]) -> None:
    row = make_paper(paper)
    row.note = "not meant"
    move(row, to=Status.OPEN, allowed=ALLOWED, actor=ACTOR, at=AT)
    assert paper.objects.get(pk=row.pk).note == ""


@pytest.mark.parametrize(
    ("was", "to", "says"),
    [
        (Status.OPEN, Status.DRAFT, "This paper slip is open; it cannot become draft. From open"),
        (Status.DONE, Status.OPEN, "From done it can become: nothing."),
        (Status.OPEN, Status.OPEN, "it cannot become open"),
    ],
)
@pytest.mark.holds("P6")
def test_what_the_table_forbids_changes_nothing(
    paper: type[Any], was: Status, to: Status, says: str
) -> None:
    row = make_paper(paper, was)
    with pytest.raises(IllegalTransition) as raised:
        move(row, to=to, allowed=ALLOWED, actor=ACTOR, at=AT)
    assert says in raised.value.detail
    assert row.status == was
    assert paper.objects.get(pk=row.pk).status == was
    assert AuditEvent.objects.count() == 0


def test_many_move_in_two_statements_or_none_does(
    paper: type[Any], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    rows = [make_paper(paper) for _ in range(20)]
    for number, row in enumerate(rows):
        row.note = f"n{number}"
    with django_assert_num_queries(2):  # the rows; their events
        move_all(rows, to=Status.OPEN, allowed=ALLOWED, actor=ACTOR, at=AT, also=["note"])
    assert sorted(paper.objects.values_list("status", "note")) == sorted(
        ("open", f"n{number}") for number in range(20)
    )
    assert AuditEvent.objects.filter(type="paper_slip.open").count() == 20

    mixed = [make_paper(paper), make_paper(paper, Status.DONE)]
    with pytest.raises(IllegalTransition):
        move_all(mixed, to=Status.OPEN, allowed=ALLOWED, actor=ACTOR, at=AT)
    assert [row.status for row in mixed] == ["draft", "done"]
    assert AuditEvent.objects.count() == 20
    move_all([], to=Status.OPEN, allowed=ALLOWED, actor=ACTOR, at=AT)
    assert AuditEvent.objects.count() == 20


def test_a_status_nobody_knows_is_a_defect(paper: type[Any]) -> None:
    row = paper.objects.create(tenant_id=entered(), status="strange")
    with pytest.raises(ValueError, match="strange"):
        move(row, to=Status.OPEN, allowed=ALLOWED, actor=ACTOR, at=AT)


def test_a_subject_of_events_needs_no_row() -> None:
    gone = entered()
    record_all([Happening("paper.burnt", gone, "pap", gone, {})], actor=ACTOR, at=AT)
    assert AuditEvent.objects.get().object_id == encode("pap", gone)


def test_rows_that_nobody_loaded_move_together(
    paper: type[Any], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tenant = new_id()
    enter_tenant(tenant)
    rows = [paper.objects.create(tenant_id=tenant, status=Status.DRAFT) for _ in range(3)]
    ids = [row.id for row in rows]
    moving: dict[str, Any] = {
        "tenant_id": tenant, "was": Status.DRAFT, "allowed": ALLOWED, "actor": ACTOR, "at": AT,
    }  # fmt: skip
    with django_assert_num_queries(2):  # the rows; their events
        move_rows(paper, ids, to=Status.OPEN, also={"note": ["a", "b", "c"]}, **moving)
    assert [(row.status, row.note) for row in paper.objects.order_by("id")] == [
        ("open", "a"), ("open", "b"), ("open", "c"),
    ]  # fmt: skip
    events = AuditEvent.objects.filter(type="paper_slip.open").order_by("object_id")
    assert [(event.object_id, event.data) for event in events] == [
        (encode("pap", one), {"was": "draft"}) for one in ids
    ]
    with django_assert_num_queries(0):
        move_rows(paper, [], to=Status.OPEN, also={}, **moving)


def test_rows_do_not_move_from_where_one_of_them_does_not_stand(paper: type[Any]) -> None:
    tenant = new_id()
    enter_tenant(tenant)
    draft = paper.objects.create(tenant_id=tenant, status=Status.DRAFT)
    done = paper.objects.create(tenant_id=tenant, status=Status.DONE)
    other = new_id()
    with tenant_scope(other):
        foreign = paper.objects.create(tenant_id=other, status=Status.DRAFT)
    for wrong in (done, foreign):
        with pytest.raises(IllegalTransition, match="1 of 2 do not stand at draft"), atomic():
            move_rows(
                paper,
                [draft.id, wrong.id],
                tenant_id=tenant,
                was=Status.DRAFT,
                to=Status.OPEN,
                allowed=ALLOWED,
                actor=ACTOR,
                at=AT,
                also={},
            )
    with pytest.raises(IllegalTransition, match="it cannot become draft"):
        move_rows(
            paper,
            [done.id],
            tenant_id=tenant,
            was=Status.DONE,
            to=Status.DRAFT,
            allowed=ALLOWED,
            actor=ACTOR,
            at=AT,
            also={},
        )
    assert set(paper.objects.values_list("status", flat=True)) == {"draft", "done"}
    assert not AuditEvent.objects.exists()
