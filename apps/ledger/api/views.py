"""The books over HTTP: read only, because nothing is posted but by what happened."""

from collections.abc import Mapping
from typing import ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.errors import FieldError, Invalid
from apps.core.ids import decode
from apps.core.money import CURRENCIES
from apps.core.web.views import Door, ParameterInvalid, Reader, id_of, instant, one_of, text
from apps.ledger.api.serializers import (
    AccountSerializer,
    EntrySerializer,
    TrialBalanceSerializer,
)
from apps.ledger.domain import AccountKind, FactKind
from apps.ledger.models import JournalEntry, LedgerAccount, Posting
from apps.ledger.queries import accounts_of, entries_of, trial_balance, trial_totals


def _entries_on(account: str) -> QuerySet[Posting, object]:
    return Posting.objects.filter(account_id=decode("acc", account)).values("entry_id")


def _entries_about(customer: str) -> QuerySet[Posting, object]:
    return Posting.objects.filter(account__customer_id=decode("cus", customer)).values("entry_id")


class Accounts(Door):
    """The accounts that were posted to."""

    resource = "ledger"
    serializer_class = AccountSerializer
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "kind": ("kind", one_of(*(k.value for k in AccountKind))),
        "currency": ("currency", one_of(*CURRENCIES)),
        "customer": ("customer_id", id_of("cus")),
        "provider": ("provider", text),
    }

    def get_queryset(self) -> QuerySet[LedgerAccount]:
        return accounts_of(self.tenant_id)


class Entries(Door):
    """The journal: every business fact, posted once."""

    resource = "ledger"
    serializer_class = EntrySerializer
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "kind": ("kind", one_of(*(k.value for k in FactKind))),
        "source_key": ("source_key", text),
        "account": ("id__in", _entries_on),
        "customer": ("id__in", _entries_about),
        "effective_from": ("effective_at__gte", instant),
        "effective_before": ("effective_at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[JournalEntry]:
        return entries_of(self.tenant_id)


class TrialBalance(Door):
    """What was debited and credited to every account."""

    resource = "ledger"
    serializer_class = TrialBalanceSerializer
    pagination_class = None
    parameters: ClassVar[frozenset[str]] = frozenset({"at"})

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "at", {"type": "string", "format": "date-time"}, description="Up to then, included."
            )
        ],
        responses=TrialBalanceSerializer,
        examples=[
            OpenApiExample(
                "One invoice of 149.00 USD, not yet paid",
                value={
                    "object": "trial_balance",
                    "at": None,
                    "accounts": [
                        {
                            "account": "acc_01h455vb4pex5vsknk084sn02q",
                            "kind": "receivable",
                            "customer": "cus_01h455vb4pex5vsknk084sn02q",
                            "provider": None,
                            "currency": "USD",
                            "debit": "149.00",
                            "credit": "0.00",
                            "balance": "149.00",
                        },
                        {
                            "account": "acc_01h455vb4pex5vsknk084sn02r",
                            "kind": "revenue",
                            "customer": None,
                            "provider": None,
                            "currency": "USD",
                            "debit": "0.00",
                            "credit": "149.00",
                            "balance": "-149.00",
                        },
                    ],
                    "totals": [{"currency": "USD", "debit": "149.00", "credit": "149.00"}],
                },
                response_only=True,
            )
        ],
    )
    def show(self, request: Request) -> Response:
        """Answer the trial balance; per currency, debits equal credits."""
        given = request.query_params.get("at")
        try:
            at = instant(given) if given is not None else None
        except Invalid as error:
            raise ParameterInvalid(errors=[FieldError("at", error.reason, error.detail)]) from error
        accounts = trial_balance(self.tenant_id, at)
        found = {"at": at, "accounts": accounts, "totals": trial_totals(accounts)}
        return Response(TrialBalanceSerializer(found).data)
