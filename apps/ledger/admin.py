"""The books on the desk."""

from django.contrib import admin

from apps.ledger.models import JournalEntry, LedgerAccount, Posting
from apps.tenants.desk import (
    Desk,
    DeskInline,
    amount,
    choice,
    ident,
    instant,
    link,
    plain,
    reference,
)


@admin.register(LedgerAccount)
class LedgerAccountDesk(Desk):
    resource = "ledger"
    list_display = (
        ident(),
        choice("kind"),
        plain("currency"),
        reference("customer_id", "customers.customer"),
        plain("provider"),
    )
    list_filter = ("kind", "currency")
    detail = (
        ident(),
        choice("kind"),
        plain("currency"),
        reference("customer_id", "customers.customer"),
        plain("provider"),
    )
    ordering = ("kind", "currency", "id")
    when_empty = "Accounts are opened by the first fact that needs one, such as an issued invoice."


class PostingInline(DeskInline):
    model = Posting
    resource = "ledger"
    columns = (link("account"), amount("amount", "debit, or −credit"))
    related = ("account",)


@admin.register(JournalEntry)
class JournalEntryDesk(Desk):
    resource = "ledger"
    plural = "journal entries"
    list_display = (
        ident(),
        choice("kind"),
        plain("source_key", "fact"),
        instant("effective_at", "effective"),
        instant("posted_at", "posted"),
    )
    list_filter = ("kind",)
    search_fields = ("source_key",)
    related = ("reverses",)
    inlines = (PostingInline,)
    when_empty = "Entries are posted when invoices are issued and payments settle."


@admin.register(Posting)
class PostingDesk(Desk):
    resource = "ledger"
    list_display = (plain("id"), link("entry"), link("account"), amount("amount"))
    list_filter = ("currency",)
    related = ("entry", "account")
    ordering = ("-id",)
