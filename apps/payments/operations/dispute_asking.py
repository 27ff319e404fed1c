"""Asking providers which payments are disputed, and taking what they say."""

import logging
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from apps.core.ids import encode, new_id
from apps.core.tenancy import tenant_scope, tenants_by
from apps.customers.queries import customer_now
from apps.payments.domain import DisputeStatus
from apps.payments.models import Dispute, Payment
from apps.payments.operations.disputing import Claim, lose_dispute, open_dispute, win_dispute
from apps.payments.providers import PROVIDERS
from apps.payments.providers.interface import DisputeNews, Provider
from apps.tenants.models import Tenant

logger = logging.getLogger(__name__)

QUESTIONER: Final = "system:payments.ask_disputes"


def ask_disputes(wall: datetime, *, tenant_id: UUID | None = None) -> int:
    """Ask every provider for disputes, and take the news; return how many disputes it was told of.

    ``wall`` is real time: what is told happens now, on each customer's own clock. Safe to repeat:
    what is known changes nothing. A provider that breaks stops no other. News that cannot be taken, such as more than a payment has left,
    is logged, stops no other, and is told again the next time.
    """
    told = 0
    for owner in [tenant_id] if tenant_id else tenants_by("payments_tenants_to_ask_disputes"):
        with tenant_scope(owner):
            for provider in PROVIDERS.values():
                if provider.collects:
                    told += _ask(provider, owner, wall)
    return told


def apply_dispute_news(news: DisputeNews, payment: Payment, *, actor: str, at: datetime) -> Dispute:
    """Take what a provider says of a dispute, and return it as it then stands.

    Any number of times and in any order: one that was never heard of is opened first, and one that
    is decided stays so. Raises as ``open_dispute``.
    """
    told: dict[str, Any] = {"tenant_id": payment.tenant_id, "actor": actor, "at": at}
    claim = Claim(
        reference=news.reference,
        amount=news.amount,
        fee=news.fee,
        reason=news.reason,
        evidence_due_at=news.evidence_due_at,
    )
    dispute = open_dispute(payment.id, claim, id=new_id(), **told)
    if dispute.status != DisputeStatus.OPENED:
        return dispute
    match news.status:
        case DisputeStatus.WON:
            return win_dispute(dispute.id, **told)
        case DisputeStatus.LOST:
            return lose_dispute(dispute.id, **told)
        case DisputeStatus.OPENED:
            return dispute


def _ask(provider: Provider, tenant_id: UUID, wall: datetime) -> int:
    told = 0
    try:
        found = provider.find_disputes(encode(Tenant.ID_PREFIX, tenant_id))
    except Exception:
        logger.exception("asking %s for disputes failed", provider.name)
        return 0
    for news in found:
        try:
            payment = Payment.objects.select_related(
                "customer__test_clock", "customer__tenant__test_clock"
            ).get(tenant_id=tenant_id, provider=provider.name, idempotency_key=news.charge_key)
            at = customer_now(payment.customer, wall=wall)
            apply_dispute_news(news, payment, actor=QUESTIONER, at=at)
            told += 1
        except Exception:
            logger.exception("the dispute %s of %s was not taken", news.reference, news.charge_key)
    return told
