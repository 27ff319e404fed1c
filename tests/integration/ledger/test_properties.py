"""Whatever happens, in whatever order and however often it is told, the books add up."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.core.ids import new_id
from apps.core.tenancy import enter_tenant
from apps.ledger.domain import POSTING_RULES, UNDOES, Amount, FactKind, NothingToReverse, entry_for
from apps.ledger.invariants import RULES
from apps.ledger.models import JournalEntry
from apps.ledger.operations import post_all, reverse_entry
from apps.ledger.queries import trial_balance, trial_totals
from tests.make.ledger import make_fact
from tests.make.tenants import AT, make_tenant

CENT = Decimal("0.01")
CENTS = st.integers(0, 10**9).map(lambda cents: Decimal(cents).scaleb(-2))
TOLD = st.tuples(
    st.sampled_from(sorted(POSTING_RULES)),
    st.integers(0, 3),  # which source key
    st.integers(0, 2),  # which customer
    st.sampled_from(["USD", "EUR", "JPY"]),
    CENTS,
    CENTS,
)


# what a fact brings: two amounts and their sum, or one
SUMS = {
    FactKind.INVOICE_ISSUED: (Amount.NET, Amount.TAX, Amount.TOTAL),
    FactKind.CREDIT_MEMO_ISSUED: (Amount.NET, Amount.TAX, Amount.TOTAL),
    FactKind.PAYMENT_SETTLED: (Amount.ALLOCATED, Amount.UNAPPLIED, Amount.RECEIVED),
    FactKind.DISPUTE_OPENED: (Amount.DISPUTED, Amount.FEE, Amount.WITHDRAWN),
    FactKind.DISPUTE_LOST: (Amount.LOST, Amount.UNAPPLIED, Amount.DISPUTED),
    FactKind.CREDIT_REINSTATED: (Amount.PAID, Amount.KEPT, Amount.TAKEN_BACK),
    FactKind.CREDIT_CLAWED_BACK: (Amount.PAID, Amount.LOST, Amount.TAKEN_BACK),
    FactKind.CREDIT_BURNED: (Amount.PAID, Amount.PROMOTIONAL, Amount.USED),
}
SINGLE = {
    FactKind.INVOICE_WRITTEN_OFF: Amount.DUE,
    FactKind.REFUND_SETTLED: Amount.PAID_BACK,
    FactKind.DISPUTE_WON: Amount.DISPUTED,
    FactKind.CREDIT_ACTIVATED: Amount.PAID,
    FactKind.CREDIT_EXPIRED: Amount.PAID,
    FactKind.CREDIT_VOIDED: Amount.PAID,
    FactKind.CREDIT_REFUNDED: Amount.PAID,
    FactKind.CREDIT_RECOVERED: Amount.PAID,
    FactKind.CREDIT_DISPUTED: Amount.PAID,
    FactKind.CREDIT_FORFEITED: Amount.PAID,
}


def amounts_of(kind: FactKind, first: Decimal, second: Decimal) -> dict[Amount, str]:
    if kind in SUMS:
        return dict(zip(SUMS[kind], map(str, (first, second, first + second)), strict=True))
    if kind in {FactKind.CREDIT_APPLIED, FactKind.CREDIT_RETURNED}:
        worth = {Amount.PAID: first, Amount.PROMOTIONAL: second, Amount.DISCOUNT: CENT}
        moved = {**worth, Amount.MOVED: first + second + CENT}
        return {name: str(amount) for name, amount in moved.items()}
    return {SINGLE.get(kind, Amount.MOVED): str(first)}


@pytest.mark.django_db
@settings(max_examples=30)
@given(
    told=st.lists(TOLD, max_size=12),
    undone=st.lists(st.tuples(st.sampled_from(sorted(UNDOES)), st.integers(0, 3)), max_size=6),
)
@pytest.mark.holds("L1", "L2")
def test_debits_equal_credits(
    told: list[tuple[FactKind, int, int, str, Decimal, Decimal]],
    undone: list[tuple[FactKind, int]],
) -> None:
    tenant, customers = make_tenant(), [new_id() for _ in range(3)]
    enter_tenant(tenant.id)
    entries = [
        entry_for(
            make_fact(
                tenant,
                kind,
                source_key=f"key-{key}",
                customer_id=customers[who],
                currency=currency,
                provider="sandbox",
                amounts=amounts_of(kind, first, second),
            )
        )
        for kind, key, who, currency, first, second in told
    ]
    facts = {(entry.kind, entry.source_key) for entry in entries if entry.legs}

    half = len(entries) // 2
    made = post_all(entries[:half], at=AT) + post_all(entries, at=AT) + post_all(entries, at=AT)
    assert made == len(facts)
    reversals = set()
    for kind, key in [*undone, *undone]:
        try:
            reversed_by = reverse_entry(
                kind, f"key-{key}", tenant_id=tenant.id, effective_at=AT, at=AT
            )
        except NothingToReverse:
            assert (UNDOES[kind], f"key-{key}") not in facts
        else:
            reversals.add(reversed_by.pk)

    assert JournalEntry.objects.filter(tenant=tenant).count() == len(facts) + len(reversals)
    for total in trial_totals(trial_balance(tenant.id)):
        assert total.debit == total.credit
    assert [sentence for rule in RULES for sentence in rule(tenant.id)] == []
