"""Every route of the installation, read from the resolver."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.urls import URLPattern, URLResolver, get_resolver

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
API: Final = "api/v1/"
_GROUP: Final = re.compile(r"\(\?P<(\w+)>\[\^/\]\+\)|<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern, such as ``api/v1/customers/{pk}``, the methods it answers and what answers."""

    path: str
    methods: tuple[str, ...]
    view: Any


def routes() -> list[Route]:
    """Return every route, those of plain views with every method."""
    return [Route(path, _methods(view), view) for path, view in _walk(get_resolver().url_patterns)]


def api_routes() -> list[tuple[str, str, Any]]:
    """Return every method and path below ``/api/v1/``, with the class that answers."""
    return [
        (method, route.path.removeprefix(API), getattr(route.view, "cls", route.view))
        for route in routes()
        if route.path.startswith(API)
        for method in route.methods
    ]


def _walk(patterns: Sequence[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        here = before + plain(str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, here)
        elif isinstance(pattern, URLPattern):
            yield here, pattern.callback


def plain(pattern: str) -> str:
    """Return a pattern with its groups as ``{name}``."""
    text = pattern.removeprefix("^").removesuffix("$").removesuffix("\\Z")
    return _GROUP.sub(lambda found: "{" + (found[1] or found[2]) + "}", text)


def _methods(view: Any) -> tuple[str, ...]:
    actions = getattr(view, "actions", None)
    if actions is not None:
        return tuple(method for method in METHODS if method.lower() in actions)
    owner = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if owner is None:
        return METHODS
    return tuple(method for method in METHODS if hasattr(owner, method.lower()))
