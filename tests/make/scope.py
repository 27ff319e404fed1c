"""Making test data of any tenant, wherever the test is."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from apps.core.tenancy import tenant_scope

P = ParamSpec("P")
T = TypeVar("T")


def in_its_scope(make: Callable[P, T]) -> Callable[P, T]:
    """Run the function in the scope of the tenant to which its first argument belongs."""

    @wraps(make)
    def scoped(*args: P.args, **kwargs: P.kwargs) -> T:
        with tenant_scope(getattr(args[0], "tenant_id")):  # noqa: B009 -- of any type that has one
            return make(*args, **kwargs)

    return scoped
