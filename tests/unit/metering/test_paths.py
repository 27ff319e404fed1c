"""Paths into JSON documents."""

import pytest

from apps.metering.paths import PathInvalid, find, parse_path

DOCUMENT = {"account": {"ids": [["a", "b"], ["c"]], "name": "x", "0": "zero"}, "n": None}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("account.name", "x"),
        ("account.ids[0][1]", "b"),
        ("account.ids[1]", ["c"]),
        ("account.0", "zero"),
        ("account.ids[2]", None),
        ("account.ids.0", None),
        ("account.name.first", None),
        ("account.name[0]", None),
        ("n", None),
        ("missing.here", None),
    ],
)
def test_what_lies_at_a_path(path: str, found: object) -> None:
    assert find(DOCUMENT, parse_path(path)) == found


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "[0]", "a b", "a[0]b", "x" * 201]
)
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(PathInvalid):
        parse_path(path)
