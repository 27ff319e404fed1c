"""Passwords: long ones of any kind, none that everybody knows, kept as argon2id."""

from typing import Any, Final

import pytest
from django.test import Client

from apps.tenants.models import Operator
from tests.make.tenants import PASSWORD, make_operator

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S11")]

GOOD: Final = "no digits and no capitals in it"


def change(new: str) -> tuple[Operator, Any]:
    """Ask the desk for another password; return the operator as he is then, and the answer."""
    operator = make_operator(email="margaret.hamilton@example.com", is_superuser=True)
    client = Client()
    client.force_login(operator)
    given = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    answer = client.post("/admin/password_change/", given)
    operator.refresh_from_db()
    return operator, answer


def test_a_long_one_needs_nothing_else_and_is_hashed_by_argon2id() -> None:
    operator, answer = change(GOOD)
    assert answer.status_code == 302
    assert operator.check_password(GOOD)
    assert operator.password.startswith("argon2$argon2id$")


@pytest.mark.parametrize(
    ("new", "code"),
    [
        ("fourteen chars", "password_too_short"),
        ("1q2w3e4r5t6y7u8i9o0p", "password_too_common"),
        ("margaret.hamilton", "password_too_similar"),
        ("x y" * 43, "password_too_long"),
    ],
)
def test_others_are_refused(new: str, code: str) -> None:
    operator, answer = change(new)
    errors = answer.context["form"].errors.as_data()["new_password2"]
    assert [one.code for one in errors] == [code]
    assert operator.check_password(PASSWORD)


def test_the_longest_is_taken() -> None:
    longest = "ab c" * 32
    assert change(longest)[0].check_password(longest)
