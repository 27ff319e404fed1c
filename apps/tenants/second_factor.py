"""A second factor for operators: one-time codes of an app on the operator's phone (RFC 6238)."""

import secrets
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.conf import settings
from django.db.models import Q
from django.utils.crypto import constant_time_compare

from apps.core.sealing import seal, unseal
from apps.tenants.domain import SecondFactorMissing, SecondFactorRequired, SecondFactorWrong
from apps.tenants.models import Operator

_DIGITS: Final = 6
_SECONDS: Final = 30
_SEED_BYTES: Final = 20
_EARLIER_AND_LATER: Final = (0, -1, 1)  # steps by which a phone's clock may be wrong
_SEED: Final = "otp_seed"


def begin_second_factor(operator: Operator) -> str:
    """Give the operator a new seed and return the address that apps read it from.

    Codes are asked for only once ``confirm_second_factor`` has seen one; until then nothing
    changes for who had none, and who had one has none.
    """
    seed = secrets.token_bytes(_SEED_BYTES)
    seal(operator, _SEED, seed.hex())
    operator.otp_confirmed_at, operator.otp_last_step = None, None
    operator.save(update_fields=[_SEED, "otp_confirmed_at", "otp_last_step"])
    return _codes(seed).get_provisioning_uri(operator.email, "Countinghouse")


def confirm_second_factor(operator: Operator, code: str, *, at: datetime) -> None:
    """Ask for codes from now on; raise ``SecondFactorWrong`` unless ``code`` is the one of now."""
    if operator.otp_seed is None:
        raise SecondFactorMissing("Begin first: there is nothing to confirm.")
    _use(operator, code, at)
    operator.otp_confirmed_at = at
    operator.save(update_fields=["otp_confirmed_at"])


def drop_second_factor(operator: Operator) -> None:
    """Ask for codes no more; a repeat changes nothing."""
    operator.otp_seed, operator.otp_confirmed_at, operator.otp_last_step = None, None, None
    operator.save(update_fields=[_SEED, "otp_confirmed_at", "otp_last_step"])


def check_second_factor(operator: Operator, code: str, *, at: datetime) -> None:
    """Let the operator pass whose password is right, if his code is too.

    A code works once. Raises ``SecondFactorRequired`` for none, ``SecondFactorWrong``, and
    ``SecondFactorMissing`` for an operator without a second factor where everybody has to have one.
    """
    if operator.otp_confirmed_at is None:
        if settings.REQUIRE_SECOND_FACTOR:
            raise SecondFactorMissing(
                "A second factor is needed here; who runs the installation sets it up:"
                " manage.py second_factor."
            )
        return
    if not code:
        raise SecondFactorRequired("Send the code of your authenticator app too.")
    _use(operator, code, at)


def _use(operator: Operator, code: str, at: datetime) -> None:
    codes = _codes(bytes.fromhex(unseal(operator, _SEED)))
    now = int(at.timestamp()) // _SECONDS
    for step in (now + one for one in _EARLIER_AND_LATER):
        expected = codes.generate(step * _SECONDS).decode()
        if not constant_time_compare(expected, code.replace(" ", "")):
            continue
        unused = Q(otp_last_step=None) | Q(otp_last_step__lt=step)
        # one statement, so that the same code sent twice at once works once
        if Operator.objects.filter(unused, pk=operator.pk).update(otp_last_step=step):
            operator.otp_last_step = step
            return
    raise SecondFactorWrong("The code is wrong, used already, or too old.")


def _codes(seed: bytes) -> TOTP:
    # apps know no other hash by default; the codes' strength does not rest on it
    return TOTP(seed, _DIGITS, SHA1(), _SECONDS)  # noqa: S303
