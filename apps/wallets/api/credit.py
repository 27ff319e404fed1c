"""What credit there is, and how it moved."""

from collections.abc import Mapping
from typing import ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.web.views import Reader, id_of, instant, one_of, text
from apps.customers.queries import customer_now
from apps.wallets.api.answers import (
    SummaryView,
    TransactionView,
)
from apps.wallets.api.door import CreditDoor
from apps.wallets.domain import (
    EntryKind,
)
from apps.wallets.models import (
    CreditTransaction,
)
from apps.wallets.queries import (
    credit_summary,
    transactions_of,
)


class CreditTransactions(CreditDoor):
    """Every movement of credit."""

    serializer_class = TransactionView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "wallet": ("wallet_id", id_of("wal")),
        "customer": ("wallet__customer_id", id_of("cus")),
        "customer_external_id": ("wallet__customer__external_id", text),
        "type": ("kind", one_of(*(k.value for k in EntryKind))),
        "grant": ("grant_id", id_of("grt")),
        "hold": ("hold_id", id_of("hld")),
        "invoice": ("invoice_id", id_of("inv")),
        "meter": ("meter__key", text),
        "unit": ("wallet__unit__key", text),
        "from": ("at__gte", instant),
        "before": ("at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[CreditTransaction]:
        return transactions_of(self.tenant_id)

    def list(self, request: Request) -> Response:
        """Answer a page of transactions, newest first, and how many there are in all."""
        answer = super().list(request)
        answer.data["total"] = self.filter_queryset(self.get_queryset()).count()
        return answer


class CustomerCredit(CreditDoor):
    """All credit of one customer."""

    serializer_class = SummaryView

    @extend_schema(responses=SummaryView)
    def summary(self, _request: Request, pk: str) -> Response:
        """Answer what a customer has, by unit and currency."""
        customer = self.customer(pk)
        at = customer_now(customer, wall=now())
        answer = {"customer": customer.id, "credits": credit_summary(customer.id, at=at)}
        return Response(SummaryView(answer).data)
