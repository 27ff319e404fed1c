"""How many requests somebody may send: buckets of tokens in Redis, refilled as time passes.

Whoever is out of tokens is told when there will be one. Redis only counts: when it is away, that is
logged and everybody is let through.
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

import redis
from django.conf import settings

from apps.core.errors import BillingError

logger = logging.getLogger(__name__)

_TIMEOUT: Final = 0.25  # seconds; nobody waits longer for permission
_PAUSE: Final = 5.0  # seconds without asking, after Redis did not answer
_RESERVED_FOR: Final = 1.0  # seconds that tokens taken ahead may be used
_SHARE: Final = 100  # one process takes at most this part of a full bucket ahead
_MOST_KNOWN: Final = 10_000

# takes up to `wanted` tokens at once; answers how many, and else the milliseconds until there is one
_TAKE: Final = """
local rate, full, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local known = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = full
if known[1] then
  tokens = math.min(full, tonumber(known[1]) + math.max(0, now - tonumber(known[2])) * rate)
end
local taken = math.min(wanted, math.floor(tokens))
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(full / rate * 1000) + 1000)
if taken > 0 then return {taken, 0} end
return {0, math.ceil((1 - tokens) / rate * 1000)}
"""


class RateLimited(BillingError):
    """Too many requests; ``retry_after`` seconds from now there is room for one."""

    reason = "rate_limited"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


@dataclass(slots=True)
class _Ahead:
    """Tokens that this process has taken and not used yet."""

    tokens: int
    until: float


_ahead: dict[str, _Ahead] = {}
_lock = threading.Lock()
_silent_until = 0.0
_client: redis.Redis | None = None


def limit_caller(name: str) -> None:
    """Count one request of a caller of the API; raise ``RateLimited`` if he has sent too many.

    Costs a round trip to Redis once in many requests, because tokens are taken ahead.
    """
    rate, full = settings.RATE_LIMIT_PER_SECOND, settings.RATE_LIMIT_BURST
    if not rate:
        return
    with _lock:
        ahead = _ahead.get(name)
        if ahead is not None and ahead.tokens > 0 and ahead.until > time.monotonic():
            ahead.tokens -= 1
            return
    taken = take(f"limit:caller:{name}", rate, full, max(1, full // _SHARE))
    if taken > 1:
        with _lock:
            if len(_ahead) >= _MOST_KNOWN:
                _ahead.clear()
            _ahead[name] = _Ahead(taken - 1, time.monotonic() + _RESERVED_FOR)


def limit_login(address: str) -> None:
    """Count one try to log in from an address; raise ``RateLimited`` if there were too many."""
    a_minute = settings.LOGIN_TRIES_PER_MINUTE
    if a_minute and address:
        take(f"limit:login:{address}", a_minute / 60, a_minute, 1)


def take(key: str, rate: float, full: int, wanted: int) -> int:
    """Take up to ``wanted`` tokens; return how many, 0 if Redis cannot say."""
    global _silent_until  # noqa: PLW0603 -- one circuit per process
    if time.monotonic() < _silent_until:
        return 0
    try:
        taken, wait = _redis().eval(_TAKE, 1, key, str(rate), str(full), str(wanted))
    except (redis.RedisError, OSError) as error:
        _silent_until = time.monotonic() + _PAUSE
        logger.warning("requests are not limited: Redis does not answer (%s)", type(error).__name__)
        return 0
    if taken:
        return int(taken)
    seconds = max(1, -(-int(wait) // 1000))
    raise RateLimited(f"Too many requests; retry in {seconds} s.", retry_after=seconds)


def _redis() -> redis.Redis:
    global _client  # noqa: PLW0603 -- one pool of connections per process
    if _client is None:
        _client = client_of(settings.CELERY_BROKER_URL)
    return _client


def client_of(url: str) -> redis.Redis:
    """Return a client of the Redis that Celery uses, whichever way its URL is written."""
    where = urlsplit(url)
    if where.scheme != "redis+socket":
        return redis.Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
    number = int(parse_qs(where.query).get("virtual_host", ["0"])[0])
    return redis.Redis(unix_socket_path=where.path, db=number, socket_timeout=_TIMEOUT)
