"""Where something lies in a JSON document: ``account.ids[0]``. Pure."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from apps.core.errors import Invalid

LONGEST_PATH: Final = 200
_STEP: Final = re.compile(r"([^.\[\]\s]+)((?:\[[0-9]{1,4}\])*)")
_INDEX: Final = re.compile(r"\[([0-9]+)\]")

Path = tuple[str | int, ...]


class PathInvalid(Invalid):
    """A path is names joined by dots, each perhaps followed by places in lists."""

    reason = "path_invalid"


@lru_cache(maxsize=4096)
def parse_path(text: str) -> Path:
    """Return the steps of a path such as ``account.ids[0]``; raise ``PathInvalid``."""
    steps: list[str | int] = []
    for part in text.split("."):
        step = _STEP.fullmatch(part)
        if step is None or len(text) > LONGEST_PATH:
            raise PathInvalid(
                f"{text[:64]!r} is no path; write names joined by dots, such as account.ids[0]."
            )
        steps.append(step[1])
        steps += [int(index) for index in _INDEX.findall(step[2])]
    return tuple(steps)


def find(document: object, path: Path) -> object:
    """Return what lies at a path, None if nothing does."""
    found = document
    for step in path:
        match found, step:
            case Mapping(), str():
                found = found.get(step)
            case list(), int() if step < len(found):
                found = found[step]
            case _:
                return None
    return found
