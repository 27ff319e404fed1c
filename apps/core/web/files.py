"""What a download is called."""

import re
from typing import Final

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def inline_file(name: str) -> str:
    """Return the header ``Content-Disposition`` of a file to be shown.

    Of ``name``, which somebody may have chosen, only what is harmless in a header and on a disk.
    """
    return f'inline; filename="{_UNSAFE.sub("_", name)}"'
