"""What the books look like from outside: read only."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.web.fields import AmountField, IdField, InstantField
from apps.ledger.domain import AccountKind, FactKind
from apps.ledger.models import JournalEntry, LedgerAccount, Posting


class PostingSerializer(serializers.Serializer[Posting]):
    account = IdField("acc", source="account_id")
    kind = serializers.ChoiceField([k.value for k in AccountKind], source="account.kind")
    customer = IdField("cus", source="account.customer_id", allow_null=True)
    provider = serializers.CharField(source="account.provider", allow_null=True)
    amount = AmountField(help_text="Positive debits the account, negative credits it.")
    currency = serializers.CharField()


class EntrySerializer(serializers.Serializer[JournalEntry]):
    object = serializers.SerializerMethodField()
    id = IdField("jrn")
    kind = serializers.ChoiceField([k.value for k in FactKind])
    source_key = serializers.CharField(help_text="The identity of the fact; posted once.")
    effective_at = InstantField(help_text="When it happened, on the customer's clock.")
    posted_at = InstantField(help_text="When it was written, on the wall clock.")
    reverses = IdField("jrn", source="reverses_id", allow_null=True)
    postings = PostingSerializer(many=True)

    @extend_schema_field({"type": "string", "enum": ["journal_entry"]})
    def get_object(self, _entry: JournalEntry) -> str:
        return "journal_entry"


class AccountSerializer(serializers.Serializer[LedgerAccount]):
    object = serializers.SerializerMethodField()
    id = IdField("acc")
    kind = serializers.ChoiceField([k.value for k in AccountKind])
    customer = IdField("cus", source="customer_id", allow_null=True)
    provider = serializers.CharField(allow_null=True)
    currency = serializers.CharField()
    balance = AmountField(help_text="Debits less credits.")

    @extend_schema_field({"type": "string", "enum": ["ledger_account"]})
    def get_object(self, _account: LedgerAccount) -> str:
        return "ledger_account"


class TrialLineSerializer(serializers.Serializer[Any]):
    account = IdField("acc", source="account_id")
    kind = serializers.ChoiceField([k.value for k in AccountKind], source="account.kind")
    customer = IdField("cus", source="account.customer_id", allow_null=True)
    provider = serializers.CharField(source="account.provider", allow_null=True)
    currency = serializers.CharField(source="account.currency")
    debit = AmountField(currency="account.currency")
    credit = AmountField(currency="account.currency")
    balance = AmountField(currency="account.currency", help_text="Debits less credits.")


class TrialTotalSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField()
    debit = AmountField()
    credit = AmountField(help_text="Equals the debits.")


class TrialBalanceSerializer(serializers.Serializer[Any]):
    object = serializers.SerializerMethodField()
    at = InstantField(allow_null=True, help_text="Null: everything that was ever posted.")
    accounts = TrialLineSerializer(many=True)
    totals = TrialTotalSerializer(many=True)

    @extend_schema_field({"type": "string", "enum": ["trial_balance"]})
    def get_object(self, _balance: Any) -> str:
        return "trial_balance"
