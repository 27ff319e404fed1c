"""Whether this installation works, for load balancers and people."""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from django.core.cache import cache
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.backoffice.queries import installation as queries
from apps.core.clock import now
from apps.core.ids import encode, new_id

logger = logging.getLogger(__name__)

Check = Callable[[], str]

OK: Final = "ok"
DOWN: Final = "down"


def _database() -> str:
    queries.touch_database()
    return OK


def _role() -> str:
    return "too powerful" if queries.too_powerful() else OK


def _migrations() -> str:
    return "pending" if queries.migrations_are_pending() else OK


def _cluster() -> str:
    return "not adopted" if queries.passed_over() else OK


def _cache() -> str:
    key = encode("health", new_id())
    cache.set(key, key, timeout=10)
    found = cache.get(key)
    cache.delete(key)
    return OK if found == key else DOWN


def _broker() -> str:
    queries.touch_broker()
    return OK


def _worker() -> str:
    beaten = queries.last_heartbeat()
    if beaten is None:
        return "never seen"
    return OK if now() - beaten < queries.HEARTBEAT_LATE else "late"


def _audit() -> str:
    return "late" if queries.sealing_is_late(now()) else OK


def _jobs() -> str:
    return "stalled" if queries.jobs_are_stalled(now()) else OK


# Without these nothing can be answered.
_NEEDED: Final[Mapping[str, Check]] = {
    "database": _database,
    "role": _role,
    "migrations": _migrations,
    "cluster": _cluster,
}
# Without these requests are answered, but work waits. Nothing is lost: PostgreSQL has it.
_HELPFUL: Final[Mapping[str, Check]] = {
    "cache": _cache,
    "message_broker": _broker,
    "worker": _worker,
    "jobs": _jobs,
    "audit": _audit,
}


def _result(name: str, check: Check) -> str:
    """Return one word; what went wrong is for the log, not for strangers."""
    try:
        return check()
    except Exception:
        logger.exception("the health check of %s failed", name)
        return DOWN


@require_safe
@never_cache
def live(_request: HttpRequest) -> JsonResponse:
    """Answer that this process answers."""
    return JsonResponse({"status": "healthy"})


@require_safe
@never_cache
def ready(_request: HttpRequest) -> JsonResponse:
    """Answer 200 if requests can be served, 503 if not."""
    return _answer(_NEEDED)


@require_safe
@never_cache
def health(_request: HttpRequest) -> JsonResponse:
    """Answer how everything is: 503 if requests cannot be served, 200 otherwise.

    ``degraded`` means that requests are served and recorded, but some work waits.
    """
    return _answer({**_NEEDED, **_HELPFUL})


def _answer(checks: Mapping[str, Check]) -> JsonResponse:
    results = {name: _result(name, check) for name, check in checks.items()}
    if any(results[name] != OK for name in _NEEDED):
        return JsonResponse({"status": "unhealthy", "dependencies": results}, status=503)
    healthy = all(result == OK for result in results.values())
    status = "healthy" if healthy else "degraded"
    return JsonResponse({"status": status, "dependencies": results})
