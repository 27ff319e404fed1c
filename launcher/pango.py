"""Pango, the one system library that is needed (by WeasyPrint, for PDFs) and is not a wheel."""

import ctypes
import ctypes.util
import sys

from launcher.system import apt_get, apt_install

PACKAGES = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0")

_LIBRARIES = {
    "linux": ("libgobject-2.0.so.0", "libpango-1.0.so.0", "libpangoft2-1.0.so.0"),
    "darwin": ("libgobject-2.0.0.dylib", "libpango-1.0.0.dylib", "libpangoft2-1.0.0.dylib"),
}
_FOLDERS = ("", "/opt/homebrew/lib/", "/usr/local/lib/")


def loadable() -> bool:
    """Whether this process can load the libraries that WeasyPrint needs."""
    return all(_loads(name) for name in _LIBRARIES.get(sys.platform, _LIBRARIES["linux"]))


def how_to_get() -> str:
    """The command that installs Pango on this kind of system."""
    if sys.platform == "darwin":
        return "brew install pango"
    return f"apt-get install --no-install-recommends {' '.join(PACKAGES)}"


def ensure() -> bool:
    """Return whether Pango is there, installing it where that is possible; else say how to get it.

    Everything but PDFs works without it.
    """
    if loadable():
        return True
    if apt_get():
        print("Installing Pango, which makes the PDFs...", file=sys.stderr)
        # Older releases have no package of its own for the last one, and do without it.
        if (apt_install(PACKAGES) or apt_install(PACKAGES[:2])) and loadable():
            return True
    print(f"Pango is missing, so no PDFs can be made. To get it:  {how_to_get()}", file=sys.stderr)
    return False


def _loads(name: str) -> bool:
    for folder in _FOLDERS:
        try:
            ctypes.CDLL(folder + name)
        except OSError:
            continue
        return True
    return False
