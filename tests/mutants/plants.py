"""Known bugs, each with the test that must find it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug: ``good`` stands once in the file at ``path`` and becomes ``bad``; ``test`` finds it."""

    name: str
    path: str
    good: str
    bad: str
    test: str


_PERIODS: Final = "tests/unit/rating/test_periods.py"
_WALLET: Final = "tests/integration/wallets/test_stateful.py::test_a_wallet_is_what_the_model_says"
_RACES: Final = "tests/races/test_races.py::test_race"

PLANTS: Final = (
    # --- arithmetic
    Plant(
        "a span is closed instead of half-open",
        "apps/rating/periods.py",
        "return self.start <= at < self.end",
        "return self.start <= at <= self.end",
        f"{_PERIODS}::test_a_span_contains_its_start_and_not_its_end",
    ),
    Plant(
        "boundaries are counted from 28 days on",
        "apps/rating/periods.py",
        "day=min(wall.day, _month_length(year, month)))",
        "day=min(wall.day, _SHORTEST_MONTH))",
        f"{_PERIODS}::test_the_31st_comes_back_after_a_shorter_month",
    ),
    Plant(
        "a time that is shown twice is the second one",
        "apps/rating/periods.py",
        "wall.replace(tzinfo=zone, fold=0)",
        "wall.replace(tzinfo=zone, fold=1)",
        f"{_PERIODS}::test_skipped_times_shift_forward_and_repeated_ones_are_the_first",
    ),
    Plant(
        "amounts are rounded half to even",
        "apps/core/money.py",
        "rounded = amount.quantize(_QUANTUM[currency], ROUND_HALF_UP, ARITHMETIC)",
        "rounded = amount.quantize(_QUANTUM[currency], ROUND_HALF_EVEN, ARITHMETIC)",
        "tests/unit/core/test_money.py::test_round_money",
    ),
    Plant(
        "a split loses its rest",
        "apps/core/money.py",
        "        parts[index] += 1",
        "        parts[index] += 0",
        "tests/unit/core/test_money.py::test_allocate",
    ),
    Plant(
        "the bound of a tier belongs to the next",
        "apps/rating/pricing/tiers.py",
        "ends_here = tier.up_to is None or quantity <= tier.up_to",
        "ends_here = tier.up_to is None or quantity < tier.up_to",
        "tests/unit/rating/test_pricing_models.py::test_amounts",
    ),
    Plant(
        "a package that is begun is not paid",
        "apps/rating/pricing/blocks.py",
        "return whole + 1 if rest else whole",
        "return whole",
        "tests/unit/rating/test_pricing_models.py::test_the_steps_of_packages",
    ),
    Plant(
        "the 31st has a day of its own in months of 30",
        "apps/rating/proration.py",
        "min(day.day, _DAYS_PER_MONTH)",
        "day.day",
        "tests/unit/rating/test_proration.py::test_prorate",
    ),
    Plant(
        "the latest of two events at one instant is the first that came",
        "apps/rating/aggregation.py",
        "last = max(listed, key=lambda event: (event.at, event.seq))",
        "last = max(listed, key=lambda event: (event.at, -event.seq))",
        "tests/unit/rating/test_aggregation.py::test_latest_is_by_time_and_then_by_arrival",
    ),
    # --- what is billed
    Plant(
        "an advance charge is due after its start",
        "apps/invoicing/slicing.py",
        "if due <= cutoff:",
        "if due < cutoff:",
        "tests/unit/invoicing/test_assembly.py::test_advance_is_due_at_the_start_inclusive",
    ),
    Plant(
        "late usage is not looked back for",
        "apps/invoicing/slicing.py",
        "earliest = min(earliest, usage_since)",
        "earliest = max(earliest, usage_since)",
        "tests/integration/invoicing/test_usage_billing.py"
        "::test_late_usage_comes_with_the_next_invoice_and_names_the_first_line",
    ),
    Plant(
        "what was billed already is billed again",
        "apps/invoicing/assembly.py",
        "derivation.expected - past.amount, past.count",
        "derivation.expected, past.count",
        "tests/unit/invoicing/test_assembly.py::test_billing_again_bills_nothing",
    ),
    Plant(
        "usage is measured for the subscription's own price alone",
        "apps/invoicing/gathering.py",
        "models[key] = one.charge.measured_for(currency)",
        "models[key] = one.charge.prices[None, currency].model",
        "tests/integration/invoicing/test_usage_billing.py"
        "::test_a_price_point_whose_price_looks_closer_at_usage_than_the_standard_one",
    ),
    Plant(
        "credit is used beyond what is due",
        "apps/invoicing/domain.py",
        "taken = min(memo.left, due)",
        "taken = memo.left",
        "tests/integration/invoicing/test_issuing.py",
    ),
    Plant(
        "the customer is not locked while he is billed",
        "apps/invoicing/operations/billing.py",
        "    lock_row(Customer, customer_id, tenant_id=tenant_id)\n    known",
        "    known",
        f"{_RACES}[one_request_by_itself]",
    ),
    Plant(
        "numbers are given before they are needed",
        "apps/invoicing/numbering.py",
        "return range(last - count + 1, last + 1)",
        "return range(last - count + 2, last + 2)",
        "tests/integration/invoicing/test_races.py::test_twenty_times_issue_is_one_number",
    ),
    Plant(
        "what is paid in part can be canceled",
        "apps/invoicing/operations/closing.py",
        "if invoice.amount_paid.amount and invoice.status != InvoiceStatus.PAID:",
        "if False:",
        "tests/integration/invoicing/test_closing.py",
    ),
    # --- usage
    Plant(
        "the horizon is the newest transaction",
        "apps/metering/migrations/0007_cluster.py",
        "core_number(pg_snapshot_xmin(pg_current_snapshot()))",
        "core_number(pg_snapshot_xmax(pg_current_snapshot()))",
        "tests/integration/metering/test_rollups.py::test_a_slow_transaction_is_not_skipped",
    ),
    Plant(
        "a cluster that counts anew is served",
        "apps/core/migrations/0004_cluster.py",
        "IF core_is_to_come(number) THEN",
        "IF false THEN",
        "tests/integration/backoffice/test_clusters.py",
    ),
    Plant(
        "an adopted cluster counts on from where it stands",
        "apps/backoffice/operations/clusters.py",
        "max(number) + 1 -",
        "max(number) / 2 -",
        "tests/integration/backoffice/test_clusters.py",
    ),
    Plant(
        "another payload under a known key is a duplicate",
        "apps/metering/operations/ingestion.py",
        "    if sent == stored:",
        "    if stored:",
        "tests/integration/metering/test_ingestion_races.py"
        "::test_two_payloads_under_one_key_make_one_event_and_one_conflict",
    ),
    Plant(
        "events of any time are taken",
        "apps/metering/intake/items.py",
        "return Window(at - max_age, at + max_ahead)",
        "return Window(at - max_age, at + 100 * max_age)",
        "tests/api/metering/test_bad_events.py",
    ),
    # --- money
    Plant(
        "every call has a new idempotency key",
        "apps/payments/operations/attempts.py",
        "idempotency_key=payment.idempotency_key,",
        "idempotency_key=payment.idempotency_key + str(at.microsecond) + str(id(payment)),",
        "tests/integration/payments/test_charging.py"
        "::test_a_repeat_after_a_crash_behind_the_call_charges_nothing_again",
    ),
    Plant(
        "an unknown outcome is a failure",
        "apps/payments/domain.py",
        "PaymentStatus.UNKNOWN, PaymentStatus.PENDING}\n",
        "PaymentStatus.PENDING}\n",
        "tests/integration/payments/test_charging.py"
        "::test_an_open_outcome_stays_in_flight_and_nothing_is_charged_beside_it",
    ),
    Plant(
        "a charge is lost a moment after it was sent",
        "apps/payments/domain.py",
        "return at - sent_at >= LOST_AFTER",
        "return at >= sent_at",
        "tests/unit/payments/test_domain.py::test_a_charge_is_lost_an_hour_after_it_was_sent",
    ),
    Plant(
        "another amount than was asked pays the invoice",
        "apps/payments/operations/outcomes.py",
        "    if received != payment.amount:",
        "    if received is None:",
        "tests/integration/payments/test_charging.py"
        "::test_another_amount_than_asked_is_held_and_pays_nothing",
    ),
    Plant(
        "a success that is told twice is settled twice",
        "apps/payments/operations/outcomes.py",
        "    if payment.status == PaymentStatus.SUCCEEDED:\n        return payment\n    if received",
        "    if received",
        f"{_RACES}[settle_by_settle]",
    ),
    # --- the database
    Plant(
        "entries need not balance",
        "apps/ledger/migrations/0002_guards.py",
        "CREATE CONSTRAINT TRIGGER journal_balanced AFTER INSERT ON ledger_journalentry",
        "CREATE CONSTRAINT TRIGGER journal_balanced AFTER UPDATE ON ledger_journalentry",
        "tests/integration/ledger/test_guards.py::test_an_unbalanced_entry_is_refused",
    ),
    Plant(
        "postings may be changed",
        "apps/ledger/migrations/0002_guards.py",
        "SELECT make_append_only('ledger_posting');\n",
        "",
        "tests/integration/ledger/test_guards.py::test_nothing_is_changed_or_deleted",
    ),
    Plant(
        "NaN is a number",
        "apps/ledger/migrations/0002_guards.py",
        "SELECT refuse_nan('ledger_posting');\n",
        "",
        "tests/integration/ledger/test_guards.py::test_nan_is_no_amount",
    ),
    Plant(
        "issued invoices may be changed",
        "apps/invoicing/migrations/0003_guards.py",
        "CREATE TRIGGER invoice_frozen BEFORE INSERT OR UPDATE OR DELETE ON invoicing_invoice",
        "CREATE TRIGGER invoice_frozen BEFORE INSERT ON invoicing_invoice",
        "tests/integration/invoicing/test_guards.py",
    ),
    Plant(
        "a payment may be allocated beyond its amount",
        "apps/payments/migrations/0002_guards.py",
        "CREATE TRIGGER allocation_bounded BEFORE INSERT ON payments_allocation",
        "CREATE TRIGGER allocation_bounded BEFORE UPDATE ON payments_allocation",
        "tests/integration/payments/test_guards.py",
    ),
    # --- who may
    Plant(
        "every scope covers every other",
        "apps/tenants/domain.py",
        "not have.isdisjoint(_sources(resource, access))",
        "bool(_sources(resource, access))",
        "tests/unit/tenants/test_domain.py::test_what_covers_what",
    ),
    Plant(
        "a key is used again for another request",
        "apps/core/idempotency.py",
        "        if bytes(known.fingerprint) != fingerprint:",
        "        if not fingerprint:",
        "tests/integration/core/test_idempotency.py"
        "::test_another_request_with_the_key_is_refused_before_and_after_the_answer",
    ),
    Plant(
        "the audit chain forgets what came before",
        "apps/core/audit.py",
        "hashlib.sha256(previous + text.encode())",
        "hashlib.sha256(text.encode())",
        "tests/unit/core/test_audit_links.py::test_a_link_depends_on_everything",
    ),
    # --- tenants
    Plant(
        "row security is not forced",
        "apps/core/migrations/0003_isolation.py",
        "%s FORCE ROW LEVEL SECURITY",
        "%s NO FORCE ROW LEVEL SECURITY",
        "tests/architecture/test_isolation.py::test_every_table_of_tenants_is_isolated",
    ),
    Plant(
        "references are not made anew with the tenant",
        "apps/core/migrations/0003_isolation.py",
        "    CONTINUE WHEN old.is_done;",
        "    CONTINUE;",
        "tests/architecture/test_isolation.py::test_what_a_model_refers_to_the_database_holds_it_to",
    ),
    Plant(
        "a rollback leaves the scope as it was before",
        "apps/core/postgresql/base.py",
        "            _set[self.connection] = _UNKNOWN",
        "            pass",
        "tests/integration/core/test_tenancy.py"
        "::test_a_scope_entered_in_a_transaction_that_is_rolled_back_goes_on",
    ),
    # --- prepaid credit, against the plain model of a wallet
    Plant(
        "credit can be used at its expiry",
        "apps/wallets/operations/till.py",
        "                and one.expires_at <= self.at",
        "                and one.expires_at < self.at",
        _WALLET,
    ),
    Plant(
        "credit that expires later is used first",
        "apps/rating/burndown.py",
        "    order = sorted(credits_, key=rank)",
        "    order = sorted(credits_, key=rank, reverse=True)",
        _WALLET,
    ),
    Plant(
        "what a hold gives back to credit that has expired can be used",
        "apps/wallets/operations/till.py",
        "                self.write_off(grant, cause=cause)",
        "                pass",
        _WALLET,
    ),
    Plant(
        "a hold is captured whole, whatever it cost",
        "apps/wallets/operations/spending.py",
        "    taken = hold.amount if amount is None else amount",
        "    taken = hold.amount",
        _WALLET,
    ),
    Plant(
        "exactly what there is cannot be spent",
        "apps/wallets/operations/spending.py",
        "    if amount > there:",
        "    if amount >= there:",
        _WALLET,
    ),
    Plant(
        "what an invoice asks for burns after it",
        "apps/wallets/operations/covering.py",
        "        burn_ahead(till, metered.intersection(one for one, _ in by_event), tenant_id=tenant_id)",
        "        pass",
        "tests/integration/wallets/test_ahead.py"
        "::test_what_is_invoiced_before_it_burns_is_charged_once",
    ),
    Plant(
        "the reader burns again what an invoice burned ahead",
        "apps/wallets/operations/burning.py",
        "        befores = {customer_id: ahead.get(customer_id) for customer_id in chunk}",
        "        befores = dict.fromkeys(chunk)",
        "tests/integration/wallets/test_ahead.py"
        "::test_what_is_invoiced_before_it_burns_is_charged_once",
    ),
    Plant(
        "credit that came back by events comes back in money too",
        "apps/wallets/operations/covering.py",
        "        came = settling.put_back(one, line, most)",
        "        came = ZERO",
        "tests/integration/wallets/test_less.py::test_the_last_taken_comes_back_first[on_event]",
    ),
    # --- tax
    Plant(
        "a rate still holds when it has ended",
        "apps/taxes/domain.py",
        "at < rate.valid_until",
        "at <= rate.valid_until",
        "tests/unit/taxes/test_domain.py::test_a_rate_holds_in_a_half_open_time",
    ),
    Plant(
        "a rate for everywhere comes before one for a country",
        "apps/taxes/domain.py",
        "_rank(known) < _rank(one)",
        "_rank(known) > _rank(one)",
        "tests/unit/taxes/test_domain.py::test_the_most_specific_rate_of_each_tax_applies",
    ),
    Plant(
        "a correction forgets the tax that was shown before",
        "apps/invoicing/taxing.py",
        "amount=round_money(EXACT.subtract(together, standing.amount), currency)",
        "amount=tax_on(taxable, standing.percentage, currency)",
        "tests/properties/test_tax_laws.py::test_tax_is_always_that_of_what_is_billed",
    ),
    Plant(
        "what was canceled is still taxed",
        "apps/invoicing/tax_facts.py",
        "coalesce(sum(t.amount) FILTER (WHERE i.status <> 'canceled'), 0)",
        "coalesce(sum(t.amount), 0)",
        "tests/integration/invoicing/test_taxes.py"
        "::test_a_canceled_invoice_is_billed_again_with_its_tax",
    ),
    # --- machinery
    Plant(
        "workers wait for each other's jobs",
        "apps/core/migrations/0003_isolation.py",
        "FOR UPDATE OF j SKIP LOCKED",
        "",
        "tests/integration/core/test_jobs.py::test_two_workers_never_get_the_same_job",
    ),
    Plant(
        "locks are taken in any order",
        "apps/core/locks.py",
        "    if rank < held:",
        "    if rank < -1:",
        "tests/integration/core/test_locks.py::test_down_the_order_is_right_up_is_not",
    ),
    Plant(
        "any state may follow any other",
        "apps/core/states.py",
        "if to not in allowed[was]:",
        "if to not in allowed:",
        "tests/integration/core/test_events_and_states.py::test_what_the_table_forbids_changes_nothing",
    ),
)
