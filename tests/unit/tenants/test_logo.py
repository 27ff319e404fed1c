"""Logos: what counts as a whole picture."""

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.tenants.logo import LogoInvalid, clean_logo

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def head(
    width: int = 3, height: int = 2, depth: int = 8, colour: int = 2, interlaced: int = 0
) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def pixels(row: int = 10, rows: int = 2) -> bytes:
    return chunk(b"IDAT", zlib.compress(b"\0" * row * rows))


def uri(*chunks: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(SIGNATURE + b"".join(chunks)).decode()


END = chunk(b"IEND")
WHOLE = uri(head(), pixels(), END)


@pytest.mark.parametrize(
    ("depth", "colour", "row"),
    [(8, 2, 10), (1, 0, 2), (8, 0, 4), (16, 0, 7), (4, 3, 3), (8, 4, 7), (8, 6, 13), (16, 6, 25)],
)
def test_every_kind_of_pixel(depth: int, colour: int, row: int) -> None:
    picture = uri(head(depth=depth, colour=colour), pixels(row), END)
    assert clean_logo(picture) == picture


def test_pixels_in_several_chunks_and_interlaced() -> None:
    packed = zlib.compress(b"\0" * 20)
    split = uri(head(), chunk(b"IDAT", packed[:5]), chunk(b"IDAT", packed[5:]), END)
    assert clean_logo(split) == split
    interlaced = uri(head(interlaced=1), pixels(row=26, rows=1), END)
    assert clean_logo(interlaced) == interlaced


def test_only_what_draws_the_picture_is_kept() -> None:
    with_more = uri(
        head(),
        chunk(b"tEXt", b"Comment\0<script>"),
        chunk(b"eXIf", b"gps"),
        chunk(b"iCCP", b"p"),
        pixels(),
        chunk(b"zzZz", b"own"),
        END,
    )
    assert clean_logo(with_more) == WHOLE
    assert clean_logo(WHOLE) == WHOLE
    assert clean_logo("") == ""


@pytest.mark.parametrize(
    "given_uri",
    [
        "data:image/png;base64,",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "https://example.com/logo.png",
        "file:///etc/passwd",
        " " + WHOLE,
        WHOLE + "\n",
        WHOLE.replace("base64,", "base64,%"),
        uri(),
        uri(head(), pixels()),
        uri(pixels(), head(), END),
        uri(head(), head(), pixels(), END),
        uri(head(), END),
        uri(head(), pixels(), END, b"<script>"),
        uri(head(), pixels(), END, chunk(b"IEND")),
        uri(head(), pixels()[:-1] + b"x", END),
        uri(head(), pixels(row=9), END),
        uri(head(), pixels(row=11), END),
        uri(head(), chunk(b"IDAT", b"no pixels"), END),
        uri(head(), chunk(b"IDAT", zlib.compress(b"\0" * 20)[:-1]), END),
        uri(head(width=0), pixels(row=1), END),
        uri(head(width=2001), pixels(row=6004), END),
        uri(head(height=4_000_000_000), pixels(), END),
        uri(head(colour=5), pixels(), END),
        uri(head(depth=3), pixels(), END),
        uri(chunk(b"IHDR", b"short"), pixels(), END),
        uri(head(), chunk(b"IDAT", zlib.compress(b"\0" * 50_000_000)), END),
        uri(head(), struct.pack(">I", 0xFFFF_FFFF) + b"IDATx", END),
        uri(head(), chunk(b"tEXt", b"x" * 300_000), pixels(), END),
    ],
)
@pytest.mark.holds("B122", "S59")
def test_what_is_no_logo(given_uri: str) -> None:
    with pytest.raises(LogoInvalid) as raised:
        clean_logo(given_uri)
    assert raised.value.field == "logo"


@given(st.binary(max_size=80))
def test_any_bytes_are_a_logo_or_refused(content: bytes) -> None:
    with pytest.raises(LogoInvalid):
        clean_logo(uri(head(), content, END[:-1]))
