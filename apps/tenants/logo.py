"""Logos: PNG pictures that hold nothing but the picture. Pure."""

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NoReturn

from apps.core.errors import Invalid

MAX_BYTES: Final = 262_144
MAX_SIDE: Final = 2000
_PREFIX: Final = "data:image/png;base64,"
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">IIBBBBB")
# what it takes to draw the picture; text, time stamps and profiles are left out
_KEPT: Final = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"IDAT", b"IEND")
# colour type -> samples per pixel
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class LogoInvalid(Invalid):
    reason = "logo_invalid"


def clean_logo(uri: str) -> str:
    """Return the PNG in a data URI as a data URI again, without anything but the picture.

    "" stays "": no logo. Raises ``LogoInvalid`` for anything but a whole PNG of at most 2000 by
    2000 pixels and 256 KiB whose check sums and pixel data are right.
    """
    if not uri:
        return ""
    if not uri.startswith(_PREFIX):
        _refuse(f"A logo begins with {_PREFIX}")
    try:
        picture = base64.b64decode(uri[len(_PREFIX) :], validate=True)
    except binascii.Error:
        _refuse("The logo's base64 cannot be decoded.")
    if len(picture) > MAX_BYTES:
        _refuse(f"A logo has at most {MAX_BYTES} bytes.")
    if not picture.startswith(_SIGNATURE):
        _refuse("The logo is no PNG picture.")
    chunks = list(_chunks(picture))
    kinds = [kind for kind, _ in chunks]
    if not kinds or kinds[0] != b"IHDR" or kinds[-1] != b"IEND" or kinds.count(b"IHDR") != 1:
        _refuse("The logo is no whole PNG picture.")
    _check_pixels(chunks[0][1], b"".join(content for kind, content in chunks if kind == b"IDAT"))
    kept = b"".join(_chunk(kind, content) for kind, content in chunks if kind in _KEPT)
    return _PREFIX + base64.b64encode(_SIGNATURE + kept).decode()


def _chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_SIGNATURE)
    while place < len(picture):
        length = int.from_bytes(picture[place : place + 4])
        kind, content = picture[place + 4 : place + 8], picture[place + 8 : place + 8 + length]
        end = place + 12 + length
        if picture[place:end] != _chunk(kind, content):
            _refuse("The logo is damaged: a check sum is wrong or its end is missing.")
        yield kind, content
        place = end
        if kind == b"IEND" and place != len(picture):
            _refuse("There is something behind the logo's end.")


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def _check_pixels(header: bytes, packed: bytes) -> None:
    if len(header) != _HEADER.size:
        _refuse("The logo's header is damaged.")
    width, height, depth, colour, _, _, interlaced = _HEADER.unpack(header)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        _refuse(f"A logo has at most {MAX_SIDE} by {MAX_SIDE} pixels.")
    if colour not in _SAMPLES or depth not in (1, 2, 4, 8, 16):
        _refuse("The logo's header is damaged.")
    row = 1 + (width * _SAMPLES[colour] * depth + 7) // 8
    # an interlaced picture has seven smaller ones, with a few more bytes at the ends of rows
    most = row * height if not interlaced else 2 * row * height + 16 * (width + height)
    inflater = zlib.decompressobj()
    try:
        pixels = inflater.decompress(packed, most + 1)
    except zlib.error:
        _refuse("The logo's pixel data is damaged.")
    wrong_length = len(pixels) != most if not interlaced else len(pixels) > most
    if wrong_length or not inflater.eof:
        _refuse("The logo's pixel data does not fit its size.")


def _refuse(detail: str) -> NoReturn:
    raise LogoInvalid(detail, field="logo")
