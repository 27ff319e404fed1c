"""Row security, and what this app looks for across tenants; see docs/adr/0007."""

from django.db import migrations

FORWARD = """
SELECT isolate(one) FROM unnest(ARRAY[
  'invoicing_invoice',
  'invoicing_invoiceline',
  'invoicing_numbersequence',
  'invoicing_balanceapplication',
  'invoicing_issuedlogo',
  'invoicing_issuedpdf',
  'invoicing_parkedcustomer'
]::regclass[]) AS one;
SELECT let_see_all(one) FROM unnest(ARRAY[
  'invoice_frozen()',
  'invoice_adds_up()',
  'line_frozen()',
  'balance_bounded()',
  'pdf_matches()',
  'lines_gone()'
]::regprocedure[]) AS one;

-- tenants with something to bill by an instant of real time, or with usage that has changed
CREATE FUNCTION invoicing_tenants_to_bill(at timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT tenant_id FROM subscriptions_subscription WHERE next_bill_at <= at
  UNION
  SELECT tenant_id FROM metering_changedusage
$$;

-- tenants with drafts whose grace has ended
CREATE FUNCTION invoicing_tenants_with_drafts(at timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT tenant_id FROM invoicing_invoice WHERE status = 'draft' AND issue_after <= at
$$;

-- tenants with invoices that had to be paid and do not say so
CREATE FUNCTION invoicing_tenants_with_overdue(at timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT tenant_id FROM invoicing_invoice
  WHERE kind = 'invoice' AND status IN ('issued', 'partially_paid') AND due_at <= at
$$;
"""
BACKWARD = """
DROP FUNCTION invoicing_tenants_to_bill, invoicing_tenants_with_drafts,
              invoicing_tenants_with_overdue;
SELECT join_tenants(one) FROM unnest(ARRAY[
  'invoicing_invoice',
  'invoicing_invoiceline',
  'invoicing_numbersequence',
  'invoicing_balanceapplication',
  'invoicing_issuedlogo',
  'invoicing_issuedpdf',
  'invoicing_parkedcustomer'
]::regclass[]) AS one;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("invoicing", "0004_credit"), ("subscriptions", "0004_isolation"), ("metering", "0004_isolation")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
