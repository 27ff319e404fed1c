"""Checking the books: every rule is run, and what it finds is reported and kept."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from apps.backoffice import books, invariants
from apps.backoffice.books import Breach, breaches, rules
from apps.backoffice.models import BooksCheck
from apps.backoffice.operations.books import store_books_check
from apps.backoffice.tasks import check_books
from apps.core.audit import seal_events
from apps.core.models import AuditHead
from apps.tenants.models import Tenant
from tests.make.neighbours import outlive_neighbours
from tests.make.tenants import AT, make_tenant
from tests.servers import as_superuser


@pytest.fixture
def broken_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that finds one row per tenant."""

    def something_is_wrong(tenant_id: UUID | None) -> Iterator[str]:
        for tenant in Tenant.objects.filter(**({"pk": tenant_id} if tenant_id else {})):
            yield f"tenant {tenant.slug} {tenant.mode}"

    monkeypatch.setattr(invariants, "RULES", (something_is_wrong,))
    monkeypatch.setattr(settings, "BOOKS", ("apps.backoffice.invariants",))


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    try:
        call_command("check_books", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        return error.returncode, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_every_module_of_rules_is_listed() -> None:
    root = Path(settings.BASE_DIR)
    found = {
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.glob("apps/*/invariants.py")
    }
    assert set(settings.BOOKS) == found


def test_rules_have_names_of_their_own() -> None:
    count = sum(len(__import__(name, fromlist=["RULES"]).RULES) for name in settings.BOOKS)
    assert len(rules()) == count


@pytest.mark.django_db
def test_new_books_are_clean() -> None:
    make_tenant()
    assert list(breaches(None)) == []


@pytest.mark.django_db
def test_breaches_name_their_rule(broken_rule: None) -> None:
    live = make_tenant(slug="acme")
    assert list(breaches(live.id)) == [Breach("backoffice.something_is_wrong", "tenant acme live")]
    assert len(list(breaches(None))) == 2


@pytest.mark.django_db
def test_the_command_lists_breaches_and_exits_with_one(broken_rule: None) -> None:
    make_tenant(slug="acme")
    assert run("--tenant", "acme/test")[:2] == (
        1,
        "backoffice.something_is_wrong: tenant acme test\n1 rules, 1 breaches, 0.0 s\n",
    )


@pytest.mark.django_db
def test_the_command_answers_json_and_progress_apart(broken_rule: None) -> None:
    tenant = make_tenant(slug="acme")
    code, out, err = run("--json", "--tenant", tenant.public_id)
    answer = json.loads(out)
    del answer["checked_at"]
    assert (code, answer) == (
        1,
        {
            "tenant": tenant.public_id,
            "rules": 1,
            "breaches": [{"rule": "backoffice.something_is_wrong", "detail": "tenant acme live"}],
        },
    )
    assert err == "[1/1] backoffice.something_is_wrong\n"


@pytest.mark.django_db
def test_the_command_is_content_with_clean_books() -> None:
    make_tenant(slug="acme")
    assert run("--tenant", "acme")[0] == 0


@pytest.mark.django_db
def test_the_command_refuses_a_tenant_that_is_none() -> None:
    with pytest.raises(CommandError, match="There is no tenant 'nobody'"):
        call_command("check_books", "--tenant", "nobody")


@pytest.mark.django_db
def test_the_result_is_kept(broken_rule: None) -> None:
    tenant = make_tenant(slug="acme")
    check = store_books_check(tenant.id, at=AT)
    assert (check.breaches, check.details, check.checked_at) == (
        1,
        ["backoffice.something_is_wrong: tenant acme live"],
        AT,
    )


@pytest.mark.django_db
def test_no_more_than_a_hundred_sentences_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def much_is_wrong(tenant_id: UUID | None) -> Iterator[str]:
        yield from map(str, range(250))

    monkeypatch.setattr(books, "rules", lambda: {"x.much_is_wrong": much_is_wrong})
    check = store_books_check(make_tenant().id, at=AT)
    assert (check.breaches, len(check.details)) == (250, 100)


@pytest.mark.django_db
def test_every_night_every_tenant_is_checked(broken_rule: None) -> None:
    make_tenant(slug="acme")
    assert check_books() == 2
    with as_superuser():
        found = list(BooksCheck.objects.all())
    assert sorted(one.details[0] for one in found) == [
        "backoffice.something_is_wrong: tenant acme live",
        "backoffice.something_is_wrong: tenant acme test",
    ]


@pytest.mark.django_db(transaction=True)
def test_a_check_sees_one_moment_and_changes_nothing() -> None:
    make_tenant()
    outlive_neighbours()
    seal_events()
    assert list(breaches(None)) == []


@pytest.mark.django_db(transaction=True)
def test_a_trail_that_was_cut_off_is_found() -> None:
    tenant = make_tenant()
    outlive_neighbours()
    seal_events()
    AuditHead.objects.filter(tenant_id=tenant.id).update(number=7)
    assert [one.rule for one in breaches(tenant.id)] == ["backoffice.audit_chain_is_broken"]
