"""No credential and no card number reaches the log, whoever logs it, in whatever way."""

import os
import re
import subprocess
import sys
from typing import Final

import pytest
from django.conf import settings

from apps.core.scrubbing import scrub

pytestmark = pytest.mark.holds("S37", "S53")

KEY: Final = "sk_live_" + "Ab3-" * 10 + "xyz"
JWT: Final = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvcHJfMSJ9.c2lnbmF0dXJl"
CARD: Final = "4242424242424242"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer [hidden]"),
        (f"{{'Authorization': 'Bearer {JWT}'}}", "{'Authorization': 'Bearer [hidden]'}"),
        ("authorization: basic c2tfbGl2ZTo=", "authorization: basic [hidden]"),
        (f"X-API-Key: {KEY}", "X-API-Key: [hidden]"),
        (f"GET /api/v1/customers?key={KEY}", "GET /api/v1/customers?key=sk_live_[hidden]"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_[hidden]"),
        (f"token {JWT} is good", "token eyJ[hidden] is good"),
        ("{'password': 'correct-horse', 'x': 1}", "{'password': '[hidden]', 'x': 1}"),
        ('{"client_secret": "abc", "a": 1}', '{"client_secret": "[hidden]", "a": 1}'),
        ("sessionid cookie=abcdef; path=/", "sessionid cookie=[hidden]; path=/"),
        ("postgresql://app:s3cret@db:5432/x", "postgresql://app:[hidden]@db:5432/x"),
        ("redis://:s3cret@redis:6379/0", "redis://:[hidden]@redis:6379/0"),
        (f"card {CARD} was declined", "card [hidden]4242 was declined"),
        ("card 5555-5555-5555-4444", "card [hidden]4444"),
        ("card 3782 822463 10005.", "card [hidden]0005."),
    ],
)
def test_what_is_secret_is_hidden(said: str, kept: str) -> None:
    assert scrub(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        "INV-000042 of cus_01h455vb4pex5vsknk084sn02q was paid",
        "period 2026-05-01T00:00:00+00:00 to 2026-06-01T00:00:00+00:00",
        "1234567890123456 events",  # no card: its check digit is wrong
        "01a1fe5c-4b8f-7f03-bbe5-9e82fc75e660",
        "amount 1000000000000.00",
        "Unauthorized: /api/v1/customers",
        "the job payments.collect_invoice failed: ConnectionError",
    ],
)
def test_the_rest_stays(said: str) -> None:
    assert scrub(said) == said


_EVERY_WAY: Final = f"""
import logging, warnings
import django
django.setup()
import celery.app.log, celery.utils.log
from celery import current_app
from gunicorn.config import Config
from gunicorn.glogging import Logger
Logger(Config())  # as a web process has it before it loads the application
from django.utils.log import configure_logging
from django.conf import settings
configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
current_app.log.setup(loglevel=logging.INFO)
secrets = ["Bearer {KEY}", "{JWT}", "card {CARD}", "password=CANARY-1", "://u:CANARY-2@h/"]
names = sorted(logging.root.manager.loggerDict)
for name in ["", *names, "apps.anything"]:
    logger = logging.getLogger(name)
    logger.disabled = False
    for secret in secrets:
        logger.critical("in the message: " + secret)
        logger.critical("in an argument: %s", secret)
        logger.critical("in a dict: %(a)s", {{"a": {{"b": secret}}}})
        try:
            raise ValueError("in an exception: " + secret)
        except ValueError:
            logger.exception("failed")
        logger.critical("forged\\n2026 INFO root all is well %s\\x1b[31m", "\\r\\nx")
print("LOGGERS", len(names))
"""


def test_every_logger_of_web_and_worker_hides_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EVERY_WAY],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "billing_project.settings",
            "DEBUG": "true",  # when Django's own handlers write too
            "PYTHONWARNINGS": "ignore",
        },
        cwd=settings.BASE_DIR,
        check=True,
        capture_output=True,
        text=True,
    )
    written = done.stdout + done.stderr
    (loggers,) = re.findall(r"^LOGGERS (\d+)$", written, re.MULTILINE)
    assert int(loggers) > 50
    assert written.count("in the message: Bearer [hidden]") > 50
    assert written.count("in an exception: ") > 50
    told = [one for one in (KEY, JWT, CARD, "CANARY-1", "CANARY-2", "\x1b") if one in written]
    assert told == []
    assert [line for line in written.splitlines() if line.startswith("2026 INFO root")] == []
