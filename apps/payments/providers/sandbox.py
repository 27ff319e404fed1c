"""A provider without real money, for tenants in test mode: it behaves as its methods are called.

==============================  =================================================================
``sandbox_ok``                  succeeds at once
``sandbox_declined``            is declined (``card_declined``)
``sandbox_declined_once``       is declined once for every invoice, then succeeds
``sandbox_insufficient_funds``  is declined (``insufficient_funds``)
``sandbox_expired``             is declined (``payment_method_expired``)
``sandbox_authentication``      is declined (``authentication_required``)
``sandbox_unreachable``         cannot be reached: nothing was sent (``provider_unreachable``)
``sandbox_timeout``             times out, and the money was taken
``sandbox_timeout_lost``        times out, and nothing was taken: it never knew the charge
``sandbox_duplicate``           takes the money, and answers that it has this charge already
``sandbox_delayed``             is pending, and succeeds when asked for the second time
``sandbox_delayed_failure``     is pending, and is declined when asked for the second time
``sandbox_wrong_amount``        takes one smallest unit less than it was asked for
==============================  =================================================================

These take the money at once, and give it back as they are called; all others give it back at once:

=================================  ==============================================================
``sandbox_refund_declined``        refuses (``refund_refused``)
``sandbox_refund_declined_once``   refuses the first refund of a charge, then gives it back
``sandbox_refund_unreachable``     cannot be reached: nothing was sent (``provider_unreachable``)
``sandbox_refund_timeout``         times out, and the money was given back
``sandbox_refund_timeout_lost``    times out, and nothing was: it never knew the refund
``sandbox_refund_duplicate``       gives it back, and answers that it has this refund already
``sandbox_refund_delayed``         is pending, and succeeds when asked for the second time
``sandbox_refund_delayed_failure``  is pending, and is refused when asked for the second time
``sandbox_refund_wrong_amount``    gives back one smallest unit less than it was asked for
=================================  ==============================================================

It never gives back more of a charge than it took.

These take the money at once, and their customers have it taken back, as it is told when asked for
disputes: all of it that was not given back by then.

=================================  ==============================================================
``sandbox_disputed``               is disputed, and that is never decided
``sandbox_disputed_won``           is disputed, and won when asked for the second time
``sandbox_disputed_lost``          is disputed, and lost when asked for the second time
=================================  ==============================================================

It keeps its own truth, in a table of its own and on a connection of its own: what it has taken stays
taken whatever becomes of the caller's transaction or process.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from django.db import connections
from django.db.backends.utils import CursorWrapper
from moneyed import Money

from apps.core.ids import decode
from apps.core.money import exponent
from apps.payments.domain import DisputeStatus, FailureCode, MethodReferenceInvalid
from apps.payments.providers.interface import (
    ChargeRequest,
    DisputeNews,
    Outcome,
    OutcomeStatus,
    RefundRequest,
)
from apps.tenants.domain import Mode

_MESSAGES: Final[Mapping[FailureCode, str]] = {
    FailureCode.CARD_DECLINED: "The card was declined.",
    FailureCode.INSUFFICIENT_FUNDS: "There is not enough money.",
    FailureCode.METHOD_EXPIRED: "The card has expired.",
    FailureCode.AUTHENTICATION_REQUIRED: "The customer must confirm this payment himself.",
    FailureCode.UNREACHABLE: "The provider cannot be reached.",
    FailureCode.TIMED_OUT: "The provider did not answer in time.",
    FailureCode.DUPLICATE_REQUEST: "The provider has this already.",
    FailureCode.REFUND_REFUSED: "The provider cannot pay it back.",
}


@dataclass(frozen=True, slots=True)
class _Behaviour:
    """What the sandbox takes down as its truth, and what it answers to the call."""

    truth: OutcomeStatus | None  # None: it never learns of the charge
    failure: FailureCode | None = None
    # what the caller hears instead of the truth
    says: FailureCode | None = None
    # the truth once it was asked for the second time
    in_the_end: OutcomeStatus | None = None
    takes_less: bool = False
    declines_first: bool = False


_SUCCEEDED, _FAILED, _PENDING = (
    OutcomeStatus.SUCCEEDED,
    OutcomeStatus.FAILED,
    OutcomeStatus.PENDING,
)
_BEHAVIOURS: Final[Mapping[str, _Behaviour]] = {
    "sandbox_ok": _Behaviour(_SUCCEEDED),
    "sandbox_declined": _Behaviour(_FAILED, FailureCode.CARD_DECLINED),
    "sandbox_declined_once": _Behaviour(_SUCCEEDED, declines_first=True),
    "sandbox_insufficient_funds": _Behaviour(_FAILED, FailureCode.INSUFFICIENT_FUNDS),
    "sandbox_expired": _Behaviour(_FAILED, FailureCode.METHOD_EXPIRED),
    "sandbox_authentication": _Behaviour(_FAILED, FailureCode.AUTHENTICATION_REQUIRED),
    "sandbox_unreachable": _Behaviour(None, FailureCode.UNREACHABLE),
    "sandbox_timeout": _Behaviour(_SUCCEEDED, says=FailureCode.TIMED_OUT),
    "sandbox_timeout_lost": _Behaviour(None, says=FailureCode.TIMED_OUT),
    "sandbox_duplicate": _Behaviour(_SUCCEEDED, says=FailureCode.DUPLICATE_REQUEST),
    "sandbox_delayed": _Behaviour(_PENDING, in_the_end=_SUCCEEDED),
    "sandbox_delayed_failure": _Behaviour(_PENDING, FailureCode.CARD_DECLINED, in_the_end=_FAILED),
    "sandbox_wrong_amount": _Behaviour(_SUCCEEDED, takes_less=True),
}
_REFUSED: Final = FailureCode.REFUND_REFUSED
_REFUNDS: Final[Mapping[str, _Behaviour]] = {
    "sandbox_refund_declined": _Behaviour(_FAILED, _REFUSED),
    "sandbox_refund_declined_once": _Behaviour(_SUCCEEDED, declines_first=True),
    "sandbox_refund_unreachable": _Behaviour(None, FailureCode.UNREACHABLE),
    "sandbox_refund_timeout": _Behaviour(_SUCCEEDED, says=FailureCode.TIMED_OUT),
    "sandbox_refund_timeout_lost": _Behaviour(None, says=FailureCode.TIMED_OUT),
    "sandbox_refund_duplicate": _Behaviour(_SUCCEEDED, says=FailureCode.DUPLICATE_REQUEST),
    "sandbox_refund_delayed": _Behaviour(_PENDING, in_the_end=_SUCCEEDED),
    "sandbox_refund_delayed_failure": _Behaviour(_PENDING, _REFUSED, in_the_end=_FAILED),
    "sandbox_refund_wrong_amount": _Behaviour(_SUCCEEDED, takes_less=True),
}
_AT_ONCE: Final = _Behaviour(_SUCCEEDED)
# how they are decided
_DISPUTES: Final[Mapping[str, DisputeStatus]] = {
    "sandbox_disputed": DisputeStatus.OPENED,
    "sandbox_disputed_won": DisputeStatus.WON,
    "sandbox_disputed_lost": DisputeStatus.LOST,
}
_METHODS: Final = {**_BEHAVIOURS, **dict.fromkeys((*_REFUNDS, *_DISPUTES), _AT_ONCE)}

_DECLINED_BEFORE: Final = """
SELECT EXISTS (SELECT FROM payments_sandboxcharge
               WHERE invoice = %s AND behaviour = %s AND outcome = 'failed')
"""
_TAKE: Final = """
INSERT INTO payments_sandboxcharge AS known
       (idempotency_key, tenant_id, behaviour, invoice, amount, currency, outcome, failure, calls,
        asked)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 1, 0)
ON CONFLICT (idempotency_key) DO UPDATE SET calls = known.calls + 1
RETURNING behaviour, amount, currency, outcome, failure
"""
_ASK: Final = """
UPDATE payments_sandboxcharge SET asked = asked + 1
WHERE idempotency_key = %s RETURNING behaviour, amount, currency, outcome, failure, asked
"""
_DECIDE: Final = """
UPDATE payments_sandboxcharge SET outcome = %s WHERE idempotency_key = %s
"""
_REFUSED_BEFORE: Final = """
SELECT EXISTS (SELECT FROM payments_sandboxrefund WHERE charge = %s AND outcome = 'failed')
"""
# held until the connection is closed
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"
# a refund beyond what was taken is refused, whatever the method
_GIVE: Final = """
INSERT INTO payments_sandboxrefund AS known
       (idempotency_key, tenant_id, behaviour, charge, amount, currency, outcome, failure, calls,
        asked)
SELECT %(key)s, %(tenant)s, %(behaviour)s, %(charge)s, %(amount)s, %(currency)s,
       CASE WHEN fits.it THEN %(outcome)s ELSE 'failed' END,
       CASE WHEN fits.it THEN %(failure)s ELSE 'refund_refused' END, 1, 0
FROM (SELECT %(amount)s + coalesce((
        SELECT sum(r.amount) FROM payments_sandboxrefund r
        WHERE r.charge = %(charge)s AND r.outcome <> 'failed'
          AND r.idempotency_key <> %(key)s), 0)
      <= coalesce((
        SELECT amount FROM payments_sandboxcharge
        WHERE idempotency_key = %(charge)s AND outcome = 'succeeded'), 0) AS it) AS fits
ON CONFLICT (idempotency_key) DO UPDATE SET calls = known.calls + 1
RETURNING behaviour, amount, currency, outcome, failure
"""
_ASK_REFUND: Final = """
UPDATE payments_sandboxrefund SET asked = asked + 1
WHERE idempotency_key = %s RETURNING behaviour, amount, currency, outcome, failure, asked
"""
_DECIDE_REFUND: Final = """
UPDATE payments_sandboxrefund SET outcome = %s WHERE idempotency_key = %s
"""
# nobody asks for these charges but here: they are decided at once
_ASK_DISPUTES: Final = """
UPDATE payments_sandboxcharge c SET asked = asked + 1
WHERE tenant_id = %s AND behaviour = ANY(%s) AND outcome = 'succeeded'
RETURNING idempotency_key, behaviour, currency, asked, amount - coalesce((
  SELECT sum(r.amount) FROM payments_sandboxrefund r
  WHERE r.charge = c.idempotency_key AND r.outcome <> 'failed'), 0)
"""
_PATIENCE: Final = 2  # questions until a pending charge, or a dispute, is decided


class Sandbox:
    """The provider that comes with the installation."""

    name = "sandbox"
    modes = frozenset({Mode.TEST})
    collects = True

    def check_method(self, method_ref: str) -> None:
        """Accept the methods listed above."""
        if method_ref not in _METHODS:
            raise MethodReferenceInvalid(
                f"The sandbox knows {', '.join(_METHODS)}.", field="provider_ref"
            )

    def charge(self, request: ChargeRequest) -> Outcome:
        """Behave as the method is called; the first call with a key decides for all."""
        behaviour = _METHODS[request.method_ref]
        if behaviour.truth is None:
            return _unheard(behaviour)
        with _own_connection() as cursor:
            truth, failure = behaviour.truth, behaviour.failure
            invoice = request.metadata["invoice"]
            if behaviour.declines_first and not _declined_before(cursor, invoice, request):
                truth, failure = OutcomeStatus.FAILED, FailureCode.CARD_DECLINED
            cursor.execute(
                _TAKE,
                [
                    request.idempotency_key,
                    decode("ten", request.metadata["tenant"]),
                    request.method_ref,
                    invoice,
                    _taken(request.amount, behaviour),
                    request.amount.currency.code,
                    truth.value,
                    failure.value if failure else "",
                ],
            )
            name, amount, currency, outcome, why = cursor.fetchone()
        return _told(_METHODS[name]) or _outcome(
            request.idempotency_key, OutcomeStatus(outcome), amount, currency, why
        )

    def find(self, idempotency_key: str) -> Outcome | None:
        """Tell the truth; decide what is pending when asked for the second time."""
        with _own_connection() as cursor:
            cursor.execute(_ASK, [idempotency_key])
            row = cursor.fetchone()
            if row is None:
                return None
            name, amount, currency, outcome, why, asked = row
            status, is_new = _in_the_end(_METHODS[name], outcome, asked)
            if is_new:
                cursor.execute(_DECIDE, [status.value, idempotency_key])
        return _outcome(idempotency_key, status, amount, currency, why)

    def refund(self, request: RefundRequest) -> Outcome:
        """Behave as the charge's method is called; the first call with a key decides for all."""
        behaviour = _REFUNDS.get(request.method_ref, _AT_ONCE)
        if behaviour.truth is None:
            return _unheard(behaviour)
        with _own_connection() as cursor:
            truth, failure = behaviour.truth, behaviour.failure
            cursor.execute(_ONE_AT_A_TIME, [request.charge_key])
            cursor.execute(_REFUSED_BEFORE, [request.charge_key])
            if behaviour.declines_first and not cursor.fetchone()[0]:
                truth, failure = OutcomeStatus.FAILED, _REFUSED
            cursor.execute(
                _GIVE,
                {
                    "key": request.idempotency_key,
                    "tenant": decode("ten", request.metadata["tenant"]),
                    "behaviour": request.method_ref,
                    "charge": request.charge_key,
                    "amount": _taken(request.amount, behaviour),
                    "currency": request.amount.currency.code,
                    "outcome": truth.value,
                    "failure": failure.value if failure else "",
                },
            )
            name, amount, currency, outcome, why = cursor.fetchone()
        return _told(_REFUNDS.get(name, _AT_ONCE)) or _outcome(
            request.idempotency_key, OutcomeStatus(outcome), amount, currency, why
        )

    def find_refund(self, idempotency_key: str) -> Outcome | None:
        """Tell the truth; decide what is pending when asked for the second time."""
        with _own_connection() as cursor:
            cursor.execute(_ASK_REFUND, [idempotency_key])
            row = cursor.fetchone()
            if row is None:
                return None
            name, amount, currency, outcome, why, asked = row
            status, is_new = _in_the_end(_REFUNDS.get(name, _AT_ONCE), outcome, asked)
            if is_new:
                cursor.execute(_DECIDE_REFUND, [status.value, idempotency_key])
        return _outcome(idempotency_key, status, amount, currency, why)

    def find_disputes(self, tenant: str) -> Sequence[DisputeNews]:
        """Tell of all charges whose method is called so; decide when asked for the second time."""
        with _own_connection() as cursor:
            cursor.execute(_ASK_DISPUTES, [decode("ten", tenant), list(_DISPUTES)])
            rows = cursor.fetchall()
        return [
            DisputeNews(
                charge_key=key,
                reference=f"sbx_dispute_{key}",
                status=_DISPUTES[name] if asked >= _PATIENCE else DisputeStatus.OPENED,
                amount=Money(left, currency),
                reason="Not recognised by the holder of the card.",
            )
            for key, name, currency, asked, left in sorted(rows)
            if left > 0
        ]


def _told(behaviour: _Behaviour) -> Outcome | None:
    """Return what the caller hears instead of the truth, if it is something else."""
    says = behaviour.says
    if says is None:
        return None
    return Outcome(OutcomeStatus.UNKNOWN, failure_code=says, failure_message=_MESSAGES[says])


def _in_the_end(behaviour: _Behaviour, outcome: str, asked: int) -> tuple[OutcomeStatus, bool]:
    """Return how it stands after the ``asked``-th question, and whether that was decided just now."""
    status, end = OutcomeStatus(outcome), behaviour.in_the_end
    if status == OutcomeStatus.PENDING and end is not None and asked >= _PATIENCE:
        return end, True
    return status, False


def _declined_before(cursor: CursorWrapper, invoice: str, request: ChargeRequest) -> bool:
    cursor.execute(_DECLINED_BEFORE, [invoice, request.method_ref])
    return bool(cursor.fetchone()[0])


def _taken(amount: Money, behaviour: _Behaviour) -> Decimal:
    asked = Decimal(amount.amount)
    return (
        asked - Decimal(1).scaleb(-exponent(amount.currency.code))
        if (behaviour.takes_less)
        else asked
    )


def _unheard(behaviour: _Behaviour) -> Outcome:
    """Return the outcome of what the sandbox never learns of."""
    said = _told(behaviour)
    if said is not None:
        return said
    code = behaviour.failure or FailureCode.UNREACHABLE
    return Outcome(OutcomeStatus.FAILED, failure_code=code, failure_message=_MESSAGES[code])


def _outcome(
    key: str, status: OutcomeStatus, amount: Decimal, currency: str, failure: str
) -> Outcome:
    ref = f"sbx_{key}"
    if status == OutcomeStatus.SUCCEEDED:
        return Outcome(status, amount=Money(amount, currency), provider_ref=ref)
    if status == OutcomeStatus.FAILED:
        code = FailureCode(failure)
        return Outcome(status, provider_ref=ref, failure_code=code, failure_message=_MESSAGES[code])
    return Outcome(status, provider_ref=ref)


@contextmanager
def _own_connection() -> Iterator[CursorWrapper]:
    """Open a connection that commits every statement, whatever the caller's transaction does."""
    own = connections["default"].copy()
    try:
        with own.cursor() as cursor:
            yield cursor
    finally:
        own.close()
