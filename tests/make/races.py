"""Many at once: on connections of their own, behind one barrier, in the scope of who asks."""

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Barrier, Thread
from typing import Any

from django.db import connections

from apps.core.errors import BillingError
from apps.core.tenancy import current_tenant, tenant_scope

Work = Callable[[], Any]


def at_once(*works: Work) -> list[Any]:
    """Do all in threads that begin together; return results and refusals, in their order.

    What is no refusal of the product's is a defect, and raised here.
    """
    barrier = Barrier(len(works))
    results: list[Any] = [None] * len(works)
    scope = current_tenant()

    def run(number: int) -> None:
        try:
            with tenant_scope(scope):
                barrier.wait(timeout=120)
                results[number] = works[number]()
        except Exception as error:  # noqa: BLE001 -- handed to the test
            results[number] = error
        finally:
            connections.close_all()

    threads = [Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, BillingError):
            raise result
    return results


def refusals(results: Sequence[Any]) -> list[str]:
    """Return why some were refused, in the order of the alphabet."""
    return sorted(one.reason for one in results if isinstance(one, BillingError))


def winners(results: Sequence[Any]) -> list[Any]:
    """Return what those got who were not refused."""
    return [one for one in results if not isinstance(one, BillingError)]


def counted(values: Sequence[Any]) -> dict[Any, int]:
    """Return how often each value occurs."""
    return dict(Counter(values))
