"""What every page of the operators' desk (the admin site) is built from.

Each app's ``admin`` module declares its pages with these; rights, columns, actions and the
read-only forms are the same everywhere. It lies here because rights belong to tenants and every
app with a page lies above them.
"""

from apps.tenants.desk.asking import amount_field, instant_field, reason_field
from apps.tenants.desk.charts import Bar, NamedChart, bar_chart, round_step, short_text
from apps.tenants.desk.columns import (
    Column,
    amount,
    amount_text,
    choice,
    document,
    ident,
    instant,
    instant_text,
    itself,
    link,
    named,
    plain,
    reference,
    status,
)
from apps.tenants.desk.pages import Desk, DeskInline, TenantFilter, effect_of, offer
from apps.tenants.desk.rights import Rights, actor_of, rights_of
from apps.tenants.desk.verbs import By, Download, Verb

__all__ = [
    "Bar",
    "By",
    "Column",
    "Desk",
    "DeskInline",
    "Download",
    "NamedChart",
    "Rights",
    "TenantFilter",
    "Verb",
    "actor_of",
    "amount",
    "amount_field",
    "amount_text",
    "bar_chart",
    "choice",
    "document",
    "effect_of",
    "ident",
    "instant",
    "instant_field",
    "instant_text",
    "itself",
    "link",
    "named",
    "offer",
    "plain",
    "reason_field",
    "reference",
    "rights_of",
    "round_step",
    "short_text",
    "status",
]
