"""Rules of giving back that hold whoever writes: never more than was asked for, never twice."""

from django.db import migrations

_MEMO_LEFT = """
SELECT refuse_nan('invoicing_creditpaidout');
SELECT isolate('invoicing_creditpaidout');
SELECT refer_within_tenant('invoicing_invoice');

-- what a credit memo has left: its total less what invoices took and what is being paid out
CREATE FUNCTION memo_left(memo uuid) RETURNS numeric
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT -m.total
    - coalesce((SELECT sum(b.amount) FROM invoicing_balanceapplication b
                JOIN invoicing_invoice i ON i.id = b.invoice_id AND i.status <> 'canceled'
                WHERE b.credit_memo_id = m.id), 0)
    - coalesce((SELECT sum(p.amount) FROM invoicing_creditpaidout p
                WHERE p.credit_memo_id = m.id AND p.released_at IS NULL), 0)
  FROM invoicing_invoice m WHERE m.id = memo
$$;
"""
_BALANCE_BOUNDED = """
CREATE OR REPLACE FUNCTION balance_bounded() RETURNS trigger LANGUAGE plpgsql AS $$
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
     OR EXISTS (SELECT FROM made b WHERE memo_left(b.credit_memo_id) < 0)
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
SELECT let_see_all('balance_bounded()');
"""
_GUARDS = """
-- A memo pays out no more than it has left, and what it paid out never changes, but that it is
-- released once. The lock waits for whoever uses the memo beside us.
CREATE FUNCTION paid_out_bounded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_op = 'DELETE' THEN
    RAISE EXCEPTION 'what was paid out is kept'
      USING errcode = '23514', constraint = 'paid_out_kept';
  END IF;
  IF tg_op = 'UPDATE' THEN
    IF to_jsonb(OLD) - 'released_at' <> to_jsonb(NEW) - 'released_at'
       OR OLD.released_at IS NOT NULL THEN
      RAISE EXCEPTION 'what was paid out is released once and does not change'
        USING errcode = '23514', constraint = 'paid_out_kept';
    END IF;
    RETURN NEW;
  END IF;
  PERFORM FROM invoicing_invoice WHERE id = NEW.credit_memo_id FOR NO KEY UPDATE;
  IF NOT EXISTS (
       SELECT FROM invoicing_invoice m
       WHERE m.id = NEW.credit_memo_id AND m.kind = 'credit_memo' AND m.status = 'issued'
         AND m.tenant_id = NEW.tenant_id AND m.currency = NEW.currency
         AND NEW.amount = round(NEW.amount, currency_places(NEW.currency))
         AND NEW.released_at IS NULL
         AND memo_left(m.id) >= NEW.amount) THEN
    RAISE EXCEPTION 'this much of the credit memo cannot be paid out'
      USING errcode = '23514', constraint = 'paid_out_bounded';
  END IF;
  RETURN NEW;
END $$;
SELECT let_see_all('paid_out_bounded()');
CREATE TRIGGER paid_out_bounded BEFORE INSERT OR UPDATE OR DELETE ON invoicing_creditpaidout
  FOR EACH ROW EXECUTE FUNCTION paid_out_bounded();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON invoicing_creditpaidout
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Memos that credit an invoice give back no more than it asked for, to the same customer.
CREATE FUNCTION credited_within() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM invoicing_invoice WHERE id = NEW.credits_id FOR NO KEY UPDATE;
  IF NOT EXISTS (
       SELECT FROM invoicing_invoice i
       WHERE i.id = NEW.credits_id AND i.kind = 'invoice' AND i.status NOT IN ('draft', 'canceled')
         AND i.customer_id = NEW.customer_id AND i.currency = NEW.currency
         AND i.sells_credit = NEW.sells_credit
         AND i.total >= -NEW.total + (
             SELECT coalesce(-sum(m.total), 0) FROM invoicing_invoice m
             WHERE m.credits_id = i.id AND m.id <> NEW.id)) THEN
    RAISE EXCEPTION 'this much of the invoice cannot be given back'
      USING errcode = '23514', constraint = 'credited_within';
  END IF;
  RETURN NEW;
END $$;
SELECT let_see_all('credited_within()');
CREATE TRIGGER credited_within BEFORE INSERT OR UPDATE OF total, credits_id ON invoicing_invoice
  FOR EACH ROW WHEN (NEW.credits_id IS NOT NULL) EXECUTE FUNCTION credited_within();
"""
_BACK_GUARDS = """
DROP TRIGGER credited_within ON invoicing_invoice;
DROP TRIGGER no_truncate ON invoicing_creditpaidout;
DROP TRIGGER paid_out_bounded ON invoicing_creditpaidout;
DROP FUNCTION credited_within, paid_out_bounded;
"""
_BACK_BALANCE = """
CREATE OR REPLACE FUNCTION balance_bounded() RETURNS trigger LANGUAGE plpgsql AS $$
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
SELECT let_see_all('balance_bounded()');
"""
_BACK_LEFT = """
DROP FUNCTION memo_left;
SELECT join_tenants('invoicing_creditpaidout');
ALTER TABLE invoicing_creditpaidout DROP CONSTRAINT not_nan_amount;
"""


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0009_giving_back"), ("core", "0003_isolation")]
    operations = [
        migrations.RunSQL(_MEMO_LEFT, _BACK_LEFT),
        migrations.RunSQL(_BALANCE_BOUNDED, _BACK_BALANCE),
        migrations.RunSQL(_GUARDS, _BACK_GUARDS),
    ]
