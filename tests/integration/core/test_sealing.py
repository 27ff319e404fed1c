"""Secrets at rest: encrypted, bound to their row, and encrypted anew with another key."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from apps.core.sealing import SealBroken, SealedField, reseal, seal, sealed_fields, unseal
from apps.core.tenancy import tenant_scope
from apps.tenants.models import ApiKey, Operator
from tests.make.tenants import make_key, make_operator, make_tenant

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S47")]

SECRET = "sk_live_of_a_provider"  # noqa: S105 -- of nobody
OLD, NEW = "o" * 50, "n" * 50


def make_sealed(secret: str = SECRET) -> Operator:
    """Return an operator with a secret, as the database has him."""
    operator = make_operator()
    seal(operator, "otp_seed", secret)
    operator.save(update_fields=["otp_seed"])
    return Operator.objects.get(pk=operator.pk)


def stored(operator: Operator) -> bytes:
    """Return what the table holds of the secret."""
    return bytes(operator.otp_seed or b"")


def rotate() -> dict[str, int]:
    """Run the command and return what it did."""
    out = StringIO()
    call_command("rotate_secrets", "--json", stdout=out)
    done: dict[str, int] = json.loads(out.getvalue())
    return done


def test_a_secret_can_be_read_again() -> None:
    assert unseal(make_sealed(), "otp_seed") == SECRET


@pytest.mark.holds("T5", "S47")
def test_the_table_does_not_hold_it() -> None:
    operator = make_sealed()
    with connection.cursor() as cursor:
        cursor.execute("SELECT o::text FROM tenants_operator o WHERE id = %s", [operator.pk])
        (row,) = cursor.fetchone()
    held = stored(operator)
    assert (SECRET in row, SECRET.encode() in held) == (False, False)
    assert SECRET.encode().hex() not in row


def test_the_same_secret_is_stored_differently_every_time() -> None:
    operator = make_sealed()
    before = stored(operator)
    seal(operator, "otp_seed", SECRET)
    assert stored(operator) != before


@pytest.mark.holds("S47")
def test_it_opens_in_no_other_row() -> None:
    mine, yours = make_sealed(), make_sealed()
    yours.otp_seed = mine.otp_seed
    with pytest.raises(SealBroken):
        unseal(yours, "otp_seed")


def test_a_changed_byte_shows() -> None:
    operator = make_sealed()
    held = stored(operator)
    operator.otp_seed = held[:30] + bytes([held[30] ^ 1]) + held[31:]
    with pytest.raises(SealBroken):
        unseal(operator, "otp_seed")


@pytest.mark.holds("F74")
def test_with_another_key_it_does_not_open(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    operator = make_sealed()
    settings.ENCRYPTION_KEYS = [NEW]
    with pytest.raises(SealBroken, match="ENCRYPTION_KEYS"):
        unseal(operator, "otp_seed")


@pytest.mark.holds("S47", "F74")
def test_rotation_lets_the_old_key_go(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    operators = [make_sealed(f"secret {number}") for number in range(3)]
    make_operator()  # one without a secret
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    newer = make_sealed("newer")
    assert unseal(operators[0], "otp_seed") == "secret 0"
    assert rotate() == {"tenants.operator.otp_seed": 3}
    settings.ENCRYPTION_KEYS = [NEW]
    found = [unseal(Operator.objects.get(pk=one.pk), "otp_seed") for one in (*operators, newer)]
    assert found == ["secret 0", "secret 1", "secret 2", "newer"]
    assert rotate() == {"tenants.operator.otp_seed": 0}


@pytest.mark.holds("S47")
def test_rotation_reaches_the_rows_of_every_tenant(settings: Any) -> None:
    """No table of tenants holds a secret as yet: a column of theirs stands for one."""
    settings.ENCRYPTION_KEYS = [OLD]
    tenants = [make_tenant(), make_tenant()]
    for tenant in tenants:
        make_key(tenant)
        with tenant_scope(tenant.id):
            key = ApiKey.objects.get()
            seal(key, "hash", f"of {tenant.slug}")
            key.save(update_fields=["hash"])
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    with tenant_scope(None):  # as the command runs
        assert (reseal(ApiKey, "hash"), reseal(ApiKey, "hash")) == (2, 0)
    settings.ENCRYPTION_KEYS = [NEW]
    for tenant in tenants:
        with tenant_scope(tenant.id):
            assert unseal(ApiKey.objects.get(), "hash") == f"of {tenant.slug}"


def test_rotation_does_not_overwrite_what_is_changed_meanwhile(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    operator = make_sealed()
    settings.ENCRYPTION_KEYS = [NEW, OLD]

    def seal_after_somebody_else(row: Operator, field: str, secret: str) -> None:
        other = Operator.objects.get(pk=row.pk)
        seal(other, field, "changed meanwhile")
        other.save(update_fields=[field])
        seal(row, field, secret)

    monkeypatch.setattr("apps.core.sealing.seal", seal_after_somebody_else)
    assert reseal(Operator, "otp_seed") == 0
    assert unseal(Operator.objects.get(pk=operator.pk), "otp_seed") == "changed meanwhile"


def test_rotation_says_what_no_key_opens(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    operator = make_sealed()
    settings.ENCRYPTION_KEYS = [NEW]
    with pytest.raises(CommandError, match=rf"otp_seed:{operator.pk} cannot be opened"):
        rotate()


def test_every_column_with_secrets_is_known_and_unread_by_the_desk() -> None:
    assert sealed_fields() == [(Operator, "otp_seed")]
    assert Operator._meta.get_field("otp_seed").editable is False
    assert isinstance(Operator._meta.get_field("otp_seed"), SealedField)
