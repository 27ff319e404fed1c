"""Scopes, roles, tax numbers: what covers what, and what has the right form."""

import pytest

from apps.tenants.domain import (
    RESOURCES,
    ROLE_SCOPES,
    SCOPES,
    Mode,
    Role,
    ScopeBeyondOwn,
    covers,
    refuse_beyond,
)
from apps.tenants.secrets import find_in, has_shape, hash_of, hint_of, new_secret
from apps.tenants.tax_numbers import KINDS, TaxNumber, TaxNumberInvalid, check_tax_numbers


@pytest.mark.parametrize(
    ("held", "wanted", "covered"),
    [
        ({"*:write"}, {"*:write", "*:read", "events:write", "events:read"}, True),
        ({"*:read"}, {"events:read", "*:read"}, True),
        ({"*:read"}, {"events:write"}, False),
        ({"events:write"}, {"events:read"}, True),
        ({"events:read"}, {"events:write"}, False),
        ({"events:write"}, {"usage:read"}, False),
        ({f"{one}:write" for one in RESOURCES}, {"*:read"}, False),
        (set(), {"events:read"}, False),
        (set(), set(), True),
    ],
)
def test_what_covers_what(*, held: set[str], wanted: set[str], covered: bool) -> None:
    assert covers(held, wanted) is covered


def test_a_refusal_names_what_is_missing() -> None:
    refuse_beyond({"*:read"}, {"events:read"})
    with pytest.raises(ScopeBeyondOwn) as raised:
        refuse_beyond({"*:read"}, {"events:read", "usage:write", "events:write"})
    assert raised.value.detail.endswith("events:write, usage:write.")


def test_every_role_is_below_the_owner_and_names_known_scopes() -> None:
    assert set(ROLE_SCOPES) == set(Role)
    for scopes in ROLE_SCOPES.values():
        assert scopes <= SCOPES
        assert covers(ROLE_SCOPES[Role.OWNER], scopes)
    assert not covers(ROLE_SCOPES[Role.ADMIN], ROLE_SCOPES[Role.OWNER])
    raises_money = {"invoices:write", "payments:write"}
    assert {role for role, held in ROLE_SCOPES.items() if covers(held, raises_money)} == {
        Role.OWNER,
        Role.ADMIN,
        Role.FINANCE,
    }


def test_secrets_have_a_mode_and_256_bits_and_are_kept_as_hashes() -> None:
    made = {new_secret(mode) for mode in Mode for _ in range(50)}
    assert len(made) == 100
    for secret in made:
        assert has_shape(secret)
        assert find_in(f"/customers?key={secret}&x=1") == secret
        assert hint_of(secret) == f"{secret[:8]}…{secret[-4:]}"
        assert len(hash_of(secret)) == 32
    assert find_in("/customers?task_live=1") is None
    assert not has_shape("sk_live_" + "a" * 42 + "\n")


def test_tax_numbers_come_out_compact_and_in_order() -> None:
    given = [("us_ein", "91-1144442"), ("eu_vat", "de 136 695 976"), ("gb_vat", "GB 980 7806 84")]
    assert check_tax_numbers(given) == (
        TaxNumber("us_ein", "911144442"),
        TaxNumber("eu_vat", "DE136695976"),
        TaxNumber("gb_vat", "980780684"),
    )
    assert check_tax_numbers([]) == ()


def test_every_wrong_tax_number_is_named() -> None:
    with pytest.raises(TaxNumberInvalid) as raised:
        check_tax_numbers(
            [
                ("eu_vat", "DE136695977"),
                ("xx", "1"),
                ("us_ein", "91-1144442"),
                ("us_ein", "911144442"),
                ("au_abn", ""),
                ("jp_cn", "x" * 500),
            ]
        )
    assert [(one.field, one.code) for one in raised.value.errors] == [
        ("tax_ids[0].value", "tax_id_invalid"),
        ("tax_ids[1].kind", "tax_id_kind_unknown"),
        ("tax_ids[3].value", "tax_id_repeated"),
        ("tax_ids[4].value", "tax_id_invalid"),
        ("tax_ids[5].value", "tax_id_invalid"),
    ]
    assert all(len(one.detail) < 400 for one in raised.value.errors)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("text", ["", " ", "0", "-", "ä", "\x00", "1" * 40, "DE1", "x" * 40])
def test_no_kind_falls_over_strange_text(kind: str, text: str) -> None:
    try:
        found = check_tax_numbers([(kind, text)])
    except TaxNumberInvalid:
        return
    assert found[0].value
