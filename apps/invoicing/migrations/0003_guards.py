"""Rules of documents that hold whoever writes: frozen once issued, adding up, never overspent."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('invoicing_invoice');
SELECT refuse_nan('invoicing_invoiceline');
SELECT refuse_nan('invoicing_balanceapplication');
SELECT make_append_only('invoicing_balanceapplication');
SELECT make_append_only('invoicing_issuedlogo');
SELECT make_append_only('invoicing_issuedpdf');

CREATE FUNCTION currency_places(code text) RETURNS int LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN code IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX',
                  'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0
    WHEN code IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
    ELSE 2 END
$$;

-- A document begins as a draft, moves only as domain.INVOICE_TRANSITIONS says, and once issued
-- keeps everything but where it stands, what was paid, and (once) the hash of its PDF.
CREATE FUNCTION invoice_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE moving CONSTANT text[] := '{status,amount_paid,closed_at,pdf_sha256}';
BEGIN
  IF tg_op = 'INSERT' THEN
    IF NEW.status <> 'draft' OR NEW.pdf_sha256 <> '' THEN
      RAISE EXCEPTION 'a document begins as a draft'
        USING errcode = '23514', constraint = 'invoice_begins_as_draft';
    END IF;
    RETURN NEW;
  END IF;
  IF tg_op = 'DELETE' THEN
    IF OLD.status <> 'draft' THEN
      RAISE EXCEPTION 'an issued document cannot be deleted'
        USING errcode = '23514', constraint = 'invoice_frozen';
    END IF;
    RETURN OLD;
  END IF;
  IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
       ('draft', 'issued'),
       ('issued', 'partially_paid'), ('issued', 'paid'), ('issued', 'overdue'),
       ('issued', 'written_off'), ('issued', 'canceled'),
       ('partially_paid', 'paid'), ('partially_paid', 'overdue'),
       ('partially_paid', 'written_off'),
       ('overdue', 'partially_paid'), ('overdue', 'paid'), ('overdue', 'written_off'),
       ('overdue', 'canceled'),
       ('written_off', 'partially_paid'), ('written_off', 'paid')) THEN
    RAISE EXCEPTION 'a document cannot go from % to %', OLD.status, NEW.status
      USING errcode = '23514', constraint = 'invoice_transition';
  END IF;
  IF OLD.status = 'draft' THEN
    IF NEW.pdf_sha256 <> '' THEN
      RAISE EXCEPTION 'the PDF of a draft is not kept'
        USING errcode = '23514', constraint = 'invoice_frozen';
    END IF;
    IF (OLD.id, OLD.tenant_id) <> (NEW.id, NEW.tenant_id) THEN
      RAISE EXCEPTION 'a draft keeps its id and its tenant'
        USING errcode = '23514', constraint = 'invoice_frozen';
    END IF;
  ELSIF to_jsonb(OLD) - moving <> to_jsonb(NEW) - moving
     OR NEW.amount_paid < OLD.amount_paid
     OR (OLD.pdf_sha256 <> '' AND NEW.pdf_sha256 <> OLD.pdf_sha256)
     OR (OLD.status = NEW.status AND OLD.closed_at IS DISTINCT FROM NEW.closed_at) THEN
    RAISE EXCEPTION 'an issued document is immutable'
      USING errcode = '23514', constraint = 'invoice_frozen';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER invoice_frozen BEFORE INSERT OR UPDATE OR DELETE ON invoicing_invoice
  FOR EACH ROW EXECUTE FUNCTION invoice_frozen();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON invoicing_invoice
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON invoicing_invoiceline
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What an issued document must be, checked once per statement and not per line. Its lines and its
-- balance applications cannot change after it left draft, so what holds then holds for ever.
CREATE FUNCTION invoice_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong uuid;
BEGIN
  SELECT n.id INTO wrong
  FROM changed n
  JOIN customers_customer c ON c.id = n.customer_id
  CROSS JOIN LATERAL (
    SELECT count(*) AS lines, sum(l.amount) AS amount,
           bool_and(l.currency = n.currency AND l.tenant_id = n.tenant_id
                    AND l.amount = round(l.amount, currency_places(n.currency))) AS fits
    FROM invoicing_invoiceline l WHERE l.invoice_id = n.id) l
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.amount), 0) AS amount
    FROM invoicing_balanceapplication b WHERE b.invoice_id = n.id) b
  WHERE n.status <> 'draft'
    AND (l.lines = 0 OR l.amount <> n.subtotal OR NOT l.fits OR b.amount <> n.balance_applied
         OR (n.credit_applied <> 0 AND n.credit_applied <>
             (SELECT coalesce(sum(t.covers), 0) FROM wallets_credittransaction t
              WHERE t.invoice_id = n.id AND t.kind = 'consume')
             + (SELECT coalesce(sum(s.amount), 0) FROM wallets_usagesettlement s
                WHERE s.invoice_id = n.id))
         OR c.tenant_id <> n.tenant_id
         OR n.discount <> round(n.discount, currency_places(n.currency))
         OR n.tax <> round(n.tax, currency_places(n.currency)))
  LIMIT 1;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'document % does not add up to its lines and applied balance', wrong
      USING errcode = '23514', constraint = 'invoice_adds_up';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER invoice_adds_up AFTER UPDATE ON invoicing_invoice
  REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_adds_up();

-- Lines come, change and go only while their document is a draft, and are of its tenant. The lock
-- waits for whoever is issuing it; what is read after it is what he left. A document that this
-- transaction made or changed is locked as it is. By index, however many documents there are and
-- whatever was known of them when the plan was made.
CREATE FUNCTION line_frozen() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin TO off SET enable_mergejoin TO off SET enable_seqscan TO off AS $$
DECLARE
  frozen boolean;
  strange boolean;
BEGIN
  PERFORM FROM invoicing_invoice i
  WHERE i.id IN (SELECT invoice_id FROM touched) AND i.xmin <> pg_current_xact_id()::xid
  ORDER BY i.id FOR NO KEY UPDATE;
  SELECT bool_or(i.status IS DISTINCT FROM 'draft'), bool_or(i.tenant_id <> t.tenant_id)
  INTO frozen, strange
  FROM (SELECT DISTINCT invoice_id, tenant_id FROM touched) t
  LEFT JOIN invoicing_invoice i ON i.id = t.invoice_id;
  IF frozen THEN
    RAISE EXCEPTION 'the lines of an issued document are immutable'
      USING errcode = '23514', constraint = 'line_frozen';
  END IF;
  IF strange THEN
    RAISE EXCEPTION 'a line is of the tenant of its document'
      USING errcode = '23514', constraint = 'line_of_tenant';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER line_frozen_insert AFTER INSERT ON invoicing_invoiceline
  REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION line_frozen();
CREATE TRIGGER line_frozen_update AFTER UPDATE ON invoicing_invoiceline
  REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION line_frozen();
CREATE TRIGGER line_frozen_update_old AFTER UPDATE ON invoicing_invoiceline
  REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION line_frozen();
CREATE TRIGGER line_frozen_delete AFTER DELETE ON invoicing_invoiceline
  REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION line_frozen();

-- A draft goes with all its lines or not at all.
CREATE FUNCTION lines_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM gone g JOIN invoicing_invoiceline l ON l.invoice_id = g.id) THEN
    RAISE EXCEPTION 'a document with lines cannot be deleted'
      USING errcode = '23514', constraint = 'lines_gone';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER lines_gone AFTER DELETE ON invoicing_invoice
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION lines_gone();

-- Balance goes from an issued credit memo to a draft invoice of the same customer and currency,
-- never more than the memo has left or the invoice asks for.
CREATE FUNCTION balance_bounded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM invoicing_invoice i
  WHERE i.id IN (SELECT credit_memo_id FROM made UNION SELECT invoice_id FROM made)
  ORDER BY i.id FOR NO KEY UPDATE;
  IF EXISTS (
       SELECT FROM made b
       JOIN invoicing_invoice m ON m.id = b.credit_memo_id
       JOIN invoicing_invoice i ON i.id = b.invoice_id
       WHERE (m.kind, m.status, i.kind, i.status)
             <> ('credit_memo', 'issued', 'invoice', 'draft')
          OR m.customer_id <> i.customer_id
          OR m.tenant_id <> b.tenant_id OR i.tenant_id <> b.tenant_id
          OR m.currency <> b.currency OR i.currency <> b.currency
          OR b.amount <> round(b.amount, currency_places(b.currency)))
     OR EXISTS (
       SELECT FROM invoicing_balanceapplication b
       JOIN invoicing_invoice m ON m.id = b.credit_memo_id
       JOIN invoicing_invoice i ON i.id = b.invoice_id AND i.status <> 'canceled'
       WHERE b.credit_memo_id IN (SELECT credit_memo_id FROM made)
       GROUP BY m.id HAVING sum(b.amount) > -m.total)
     OR EXISTS (
       SELECT FROM invoicing_balanceapplication b
       JOIN invoicing_invoice i ON i.id = b.invoice_id
       WHERE b.invoice_id IN (SELECT invoice_id FROM made)
       GROUP BY i.id HAVING sum(b.amount) > i.total) THEN
    RAISE EXCEPTION 'this balance cannot be applied'
      USING errcode = '23514', constraint = 'balance_bounded';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER balance_bounded AFTER INSERT ON invoicing_balanceapplication
  REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION balance_bounded();

-- A series only counts up.
CREATE FUNCTION series_counts_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_op = 'DELETE' OR NEW.last_number < OLD.last_number
     OR (NEW.tenant_id, NEW.series) <> (OLD.tenant_id, OLD.series) THEN
    RAISE EXCEPTION 'a number series only counts up'
      USING errcode = '23514', constraint = 'series_counts_up';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER series_counts_up BEFORE UPDATE OR DELETE ON invoicing_numbersequence
  FOR EACH ROW EXECUTE FUNCTION series_counts_up();

-- The PDF that is kept is the one whose hash the document has.
CREATE FUNCTION pdf_matches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM invoicing_invoice i
                 WHERE i.id = NEW.invoice_id AND i.tenant_id = NEW.tenant_id
                   AND i.pdf_sha256 = encode(sha256(NEW.content), 'hex')) THEN
    RAISE EXCEPTION 'this is not the PDF of the document'
      USING errcode = '23514', constraint = 'pdf_matches';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER pdf_matches BEFORE INSERT ON invoicing_issuedpdf
  FOR EACH ROW EXECUTE FUNCTION pdf_matches();
"""
BACKWARD = """
DROP TRIGGER pdf_matches ON invoicing_issuedpdf;
DROP TRIGGER series_counts_up ON invoicing_numbersequence;
DROP TRIGGER balance_bounded ON invoicing_balanceapplication;
DROP TRIGGER lines_gone ON invoicing_invoice;
DROP TRIGGER line_frozen_delete ON invoicing_invoiceline;
DROP TRIGGER line_frozen_update_old ON invoicing_invoiceline;
DROP TRIGGER line_frozen_update ON invoicing_invoiceline;
DROP TRIGGER line_frozen_insert ON invoicing_invoiceline;
DROP TRIGGER invoice_adds_up ON invoicing_invoice;
DROP TRIGGER no_truncate ON invoicing_invoiceline;
DROP TRIGGER no_truncate ON invoicing_invoice;
DROP TRIGGER invoice_frozen ON invoicing_invoice;
DROP FUNCTION pdf_matches, series_counts_up, balance_bounded, lines_gone, line_frozen, invoice_adds_up,
              invoice_frozen, currency_places;
DROP TRIGGER append_only ON invoicing_issuedpdf;
DROP TRIGGER no_truncate ON invoicing_issuedpdf;
DROP TRIGGER append_only ON invoicing_issuedlogo;
DROP TRIGGER no_truncate ON invoicing_issuedlogo;
DROP TRIGGER append_only ON invoicing_balanceapplication;
DROP TRIGGER no_truncate ON invoicing_balanceapplication;
ALTER TABLE invoicing_balanceapplication DROP CONSTRAINT not_nan_amount;
ALTER TABLE invoicing_invoiceline
  DROP CONSTRAINT not_nan_amount, DROP CONSTRAINT not_nan_quantity;
ALTER TABLE invoicing_invoice
  DROP CONSTRAINT not_nan_subtotal, DROP CONSTRAINT not_nan_discount,
  DROP CONSTRAINT not_nan_tax, DROP CONSTRAINT not_nan_total,
  DROP CONSTRAINT not_nan_balance_applied, DROP CONSTRAINT not_nan_amount_paid;
"""


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0002_initial"), ("core", "0002_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
