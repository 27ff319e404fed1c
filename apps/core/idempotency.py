"""One effect per ``Idempotency-Key``: claim it, remember the answer, replay it.

Keys are remembered for ever per tenant and principal. The same key with another request is a
conflict; while the first is in progress, so is the second (with the advice to retry).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.errors import Conflict
from apps.core.models import IdempotencyRecord

LEASE: Final = timedelta(seconds=60)


class IdempotencyKeyReused(Conflict):
    reason = "idempotency_key_reused"


class IdempotencyInProgress(Conflict):
    reason = "idempotency_in_progress"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered before."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the work, and the id that what it creates must get."""

    record_id: int
    effect_id: UUID


def claim(
    tenant_id: UUID, principal: str, key: str, fingerprint: bytes, *, at: datetime
) -> Claim | Answer:
    """Claim ``key`` for this request, or return the answer it already got.

    Raises ``IdempotencyKeyReused`` if another request used the key and
    ``IdempotencyInProgress`` if the same one is being worked on. A claim whose holder died is
    taken over after a minute, with the same ``effect_id``.
    """
    while True:
        found = _claim_new(tenant_id, principal, key, fingerprint, at) or _claim_known(
            tenant_id, principal, key, fingerprint, at
        )
        if found is not None:  # else it was released between the two looks
            return found


def _claim_new(
    tenant_id: UUID, principal: str, key: str, fingerprint: bytes, at: datetime
) -> Claim | None:
    try:
        with transaction.atomic():
            new = IdempotencyRecord.objects.create(
                tenant_id=tenant_id,
                principal=principal,
                key=key,
                fingerprint=fingerprint,
                leased_until=at + LEASE,
            )
    except IntegrityError as error:
        if broken(error) != "idempotency_key_once":
            raise
        return None
    return Claim(new.pk, new.effect_id)


def _claim_known(
    tenant_id: UUID, principal: str, key: str, fingerprint: bytes, at: datetime
) -> Claim | Answer | None:
    with transaction.atomic():
        known = (
            IdempotencyRecord.objects.select_for_update()
            .filter(tenant_id=tenant_id, principal=principal, key=key)
            .first()
        )
        if known is None:
            return None
        if bytes(known.fingerprint) != fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another request; use a new key."
            )
        if known.status is not None:
            return Answer(known.status, bytes(known.body or b""))
        if known.leased_until > at:
            raise IdempotencyInProgress("The same request is being worked on; retry in a second.")
        known.leased_until = at + LEASE
        known.save(update_fields=["leased_until"])
        return Claim(known.pk, known.effect_id)


def answer(claimed: Claim, status: int, body: bytes) -> None:
    """Remember what was answered; the next identical request gets it again."""
    IdempotencyRecord.objects.filter(pk=claimed.record_id, status=None).update(
        status=status, body=body
    )


def release(claimed: Claim) -> None:
    """Forget the key: the request was refused before it could have any effect."""
    IdempotencyRecord.objects.filter(pk=claimed.record_id, status=None).delete()


def lapse(claimed: Claim, *, at: datetime) -> None:
    """Let the same request try again at once, with the same ``effect_id``: this try crashed."""
    IdempotencyRecord.objects.filter(pk=claimed.record_id, status=None).update(leased_until=at)
