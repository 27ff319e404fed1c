"""Posting to the books: the only code that writes them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from apps.core.bulk import insert_rows
from apps.core.failpoints import failpoint
from apps.core.ids import new_id, new_ids
from apps.core.postgresql.cursors import binding_cursor
from apps.ledger.domain import (
    UNDOES,
    AccountKind,
    AccountRef,
    FactKind,
    FactPostedDifferently,
    Leg,
    NewEntry,
    NothingToReverse,
)
from apps.ledger.models import JournalEntry, Posting

_Place = tuple[UUID, AccountRef]  # a tenant and one of its accounts

_FIND_ACCOUNTS: Final = """
SELECT a.id, w.number
FROM unnest(%(tenants)s::uuid[], %(kinds)s::text[], %(currencies)s::text[], %(customers)s::uuid[],
            %(numbers)s::int[]) AS w(tenant_id, kind, currency, customer_id, number)
JOIN ledger_ledgeraccount a USING (tenant_id, kind, currency, customer_id)
UNION ALL
SELECT a.id, w.number
FROM unnest(%(shared_tenants)s::uuid[], %(shared_kinds)s::text[], %(shared_currencies)s::text[],
            %(shared_providers)s::text[], %(shared_numbers)s::int[])
     AS w(tenant_id, kind, currency, provider, number)
JOIN ledger_ledgeraccount a USING (tenant_id, kind, currency)
WHERE a.customer_id IS NULL AND a.provider IS NOT DISTINCT FROM w.provider
"""
_MAKE_ACCOUNTS: Final = """
INSERT INTO ledger_ledgeraccount (id, tenant_id, kind, currency, customer_id, provider)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::text[])
ON CONFLICT DO NOTHING
"""
_MAKE_ENTRIES: Final = """
INSERT INTO ledger_journalentry
       (id, tenant_id, kind, source_key, effective_at, posted_at, legs, reverses_id)
SELECT id, tenant_id, kind, source_key, effective_at, clock_timestamp(), legs, reverses_id
FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::timestamptz[], %s::int[],
            %s::uuid[])
     AS e(id, tenant_id, kind, source_key, effective_at, legs, reverses_id)
ON CONFLICT (tenant_id, kind, source_key) DO NOTHING
RETURNING id
"""


@transaction.atomic
def post_all(entries: Iterable[NewEntry], *, at: datetime) -> int:
    """Post each fact that is not in the books yet; return how many entries were made.

    A fact is known by (tenant, kind, source key): told again, alone or at the same time by
    others, it changes nothing. Entries without legs make no row. Accounts are made on demand. Three
    statements for any number of entries, two more where accounts are new.
    Raises ``ValueError`` for a fact that lies after ``at``.
    """
    told: dict[tuple[UUID, str, str], NewEntry] = {}
    for entry in entries:
        if entry.effective_at > at:
            raise ValueError(f"{entry.kind} {entry.source_key} lies in the future of {at}")
        if entry.legs:
            told.setdefault((entry.tenant_id, entry.kind, entry.source_key), entry)
    if not told:
        return 0
    # always in the same order, so that two postings of the same facts never block each other
    numbered = dict(zip(new_ids(len(told)), (told[key] for key in sorted(told)), strict=True))
    accounts = _accounts({(e.tenant_id, leg.account) for e in numbered.values() for leg in e.legs})
    with binding_cursor() as cursor:
        cursor.execute(
            _MAKE_ENTRIES,
            [
                list(numbered),
                [e.tenant_id for e in numbered.values()],
                [e.kind.value for e in numbered.values()],
                [e.source_key for e in numbered.values()],
                [e.effective_at for e in numbered.values()],
                [len(e.legs) for e in numbered.values()],
                [e.reverses for e in numbered.values()],
            ],
        )
        made = [row[0] for row in cursor.fetchall()]
    failpoint("ledger.post.after_entries")
    legs = [
        (key, number, entry, leg)
        for key, entry in ((key, numbered[key]) for key in made)
        for number, leg in enumerate(entry.legs, start=1)
    ]
    if legs:
        insert_rows(
            Posting,
            {
                "tenant_id": [entry.tenant_id for _, _, entry, _ in legs],
                "entry": [key for key, _, _, _ in legs],
                "number": [number for _, number, _, _ in legs],
                "account": [accounts[entry.tenant_id, leg.account] for _, _, entry, leg in legs],
                "amount": [leg.amount for _, _, _, leg in legs],
                "currency": [leg.account.currency for _, _, _, leg in legs],
            },
        )
    failpoint("ledger.post.after_postings")
    return len(made)


@transaction.atomic
def post(entry: NewEntry, *, at: datetime) -> JournalEntry | None:
    """Post one fact and return its entry, also if it was posted before; None if nothing moved.

    Raises ``FactPostedDifferently`` if the books hold this fact with other legs, and
    ``ValueError`` for a fact that lies after ``at``.
    """
    if not entry.legs:
        return None
    made = post_all([entry], at=at)
    stored = JournalEntry.objects.get(
        tenant_id=entry.tenant_id, kind=entry.kind, source_key=entry.source_key
    )
    if not made and sorted(_legs(stored), key=repr) != sorted(entry.legs, key=repr):
        raise FactPostedDifferently(
            f"{entry.kind} {entry.source_key} is in the books with other amounts or accounts."
        )
    return stored


@transaction.atomic
def reverse_entry(
    kind: FactKind, source_key: str, *, tenant_id: UUID, effective_at: datetime, at: datetime
) -> JournalEntry:
    """Post the exact negation of the fact that ``kind`` undoes, known by the same source key.

    An entry is reversed at most once: a repeat returns the reversal that exists. Raises
    ``NothingToReverse`` if the books hold no such fact.
    """
    undone = (
        JournalEntry.objects.filter(tenant_id=tenant_id, kind=UNDOES[kind], source_key=source_key)
        .select_related("reversed_by")
        .first()
    )
    if undone is None:
        raise NothingToReverse(f"There is no {UNDOES[kind]} {source_key} in the books.")
    legs = tuple(Leg(leg.account, leg.amount.copy_negate()) for leg in _legs(undone))
    post_all([NewEntry(tenant_id, kind, source_key, effective_at, legs, reverses=undone.id)], at=at)
    return JournalEntry.objects.get(reverses=undone)


def _legs(stored: JournalEntry) -> list[Leg]:
    return [
        Leg(
            AccountRef(
                AccountKind(posting.account.kind),
                posting.account.currency,
                posting.account.customer_id,
                posting.account.provider,
            ),
            posting.amount,
        )
        for posting in stored.postings.select_related("account")
    ]


def _accounts(places: set[_Place]) -> dict[_Place, UUID]:
    """Return the id of every account; make those that are missing, always in the same order."""
    ordered = sorted(places, key=_order)
    found = _find_accounts(ordered)
    missing = [place for place in ordered if place not in found]
    if missing:
        with connection.cursor() as cursor:
            cursor.execute(
                _MAKE_ACCOUNTS,
                [
                    [new_id() for _ in missing],
                    [tenant_id for tenant_id, _ in missing],
                    [ref.kind.value for _, ref in missing],
                    [ref.currency for _, ref in missing],
                    [ref.customer_id for _, ref in missing],
                    [ref.provider for _, ref in missing],
                ],
            )
        # read, not returned: another transaction may have made some of them in the meantime
        found |= _find_accounts(missing)
    return found


def _order(place: _Place) -> tuple[UUID, str, str, str, str]:
    tenant_id, ref = place
    return tenant_id, ref.kind, ref.currency, str(ref.customer_id or ""), ref.provider or ""


def _find_accounts(places: Sequence[_Place]) -> dict[_Place, UUID]:
    owned = [(n, t, ref) for n, (t, ref) in enumerate(places) if ref.customer_id]
    shared = [(n, t, ref) for n, (t, ref) in enumerate(places) if not ref.customer_id]
    with connection.cursor() as cursor:
        cursor.execute(
            _FIND_ACCOUNTS,
            {
                "tenants": [tenant_id for _, tenant_id, _ in owned],
                "kinds": [ref.kind.value for _, _, ref in owned],
                "currencies": [ref.currency for _, _, ref in owned],
                "customers": [ref.customer_id for _, _, ref in owned],
                "numbers": [number for number, _, _ in owned],
                "shared_tenants": [tenant_id for _, tenant_id, _ in shared],
                "shared_kinds": [ref.kind.value for _, _, ref in shared],
                "shared_currencies": [ref.currency for _, _, ref in shared],
                "shared_providers": [ref.provider for _, _, ref in shared],
                "shared_numbers": [number for number, _, _ in shared],
            },
        )
        return {places[number]: account_id for account_id, number in cursor.fetchall()}
