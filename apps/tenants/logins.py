"""Logging in with a password: the same answer, after the same time, whatever is wrong."""

import hashlib
import logging
from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.hashers import make_password
from django.db import connection

from apps.tenants.domain import LoginFailed, LoginLocked
from apps.tenants.models import LoginTries, Operator
from apps.tenants.second_factor import check_second_factor

logger = logging.getLogger(__name__)

MAX_TRIES: Final = 5
PAUSE: Final = timedelta(minutes=15)

# one statement, so that tries at the same moment are all counted
_COUNT: Final = """
INSERT INTO tenants_logintries AS t (email_hash, tries, since) VALUES (%(hash)s, 1, %(at)s)
ON CONFLICT (email_hash) DO UPDATE SET
  tries = CASE WHEN t.since <= %(lapsed)s THEN 1 ELSE t.tries + 1 END,
  since = CASE WHEN t.since <= %(lapsed)s THEN %(at)s ELSE t.since END
RETURNING tries
"""


def log_in(email: str, password: str, *, code: str = "", at: datetime) -> Operator:
    """Return the active operator with this e-mail address, password and, if he has one, code.

    Raises ``LoginFailed`` otherwise, not telling why, and ``LoginLocked`` from the sixth try for
    an address, known or not, within fifteen minutes of the first. Every try counts before its
    password is looked at; the right one clears the count. With the right password it raises as
    ``check_second_factor``.
    """
    address = email.strip().lower()
    key = hashlib.sha256(address.encode()).digest()
    if _count_try(key, at) > MAX_TRIES:
        # by the beginning of its hash: log files are no place for addresses
        logger.warning("too many tries to log in to the account %s", key.hex()[:12])
        raise LoginLocked("Too many tries; wait a quarter of an hour.")
    operator = Operator.objects.filter(email=address, is_active=True).first()
    if operator is None:
        make_password(password)  # takes as long as checking one
    if operator is None or not operator.check_password(password):
        raise LoginFailed("E-mail address or password is wrong.")
    check_second_factor(operator, code, at=at)
    LoginTries.objects.filter(email_hash=key).delete()
    operator.last_login = at
    operator.save(update_fields=["last_login"])
    return operator


def _count_try(key: bytes, at: datetime) -> int:
    lapsed = at - PAUSE
    LoginTries.objects.filter(since__lte=lapsed).exclude(email_hash=key).delete()
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"hash": key, "at": at, "lapsed": lapsed})
        (tries,) = cursor.fetchone()
    return int(tries)
