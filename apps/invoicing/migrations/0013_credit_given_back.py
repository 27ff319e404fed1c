"""Documents that give prepaid credit back: their ``credit_applied`` is below zero."""

import django.db.models.expressions
from django.db import migrations, models

GUARDS = """
-- what a credit memo has left: its total less what it gave back as prepaid credit, what invoices
-- took and what is being paid out
CREATE OR REPLACE FUNCTION memo_left(memo uuid) RETURNS numeric
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT m.credit_applied - m.total
    - coalesce((SELECT sum(b.amount) FROM invoicing_balanceapplication b
                JOIN invoicing_invoice i ON i.id = b.invoice_id AND i.status <> 'canceled'
                WHERE b.credit_memo_id = m.id), 0)
    - coalesce((SELECT sum(p.amount) FROM invoicing_creditpaidout p
                WHERE p.credit_memo_id = m.id AND p.released_at IS NULL), 0)
  FROM invoicing_invoice m WHERE m.id = memo
$$;

-- what an invoice gives back as prepaid credit, the balance may pay besides its total
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
       GROUP BY i.id HAVING sum(b.amount) > i.total - least(0,
         (SELECT coalesce(sum(t.covers), 0) FROM wallets_credittransaction t
          WHERE t.invoice_id = i.id AND t.kind IN ('consume', 'return'))
         + (SELECT coalesce(sum(s.amount), 0) FROM wallets_usagesettlement s
            WHERE s.invoice_id = i.id))) THEN
    RAISE EXCEPTION 'this balance cannot be applied'
      USING errcode = '23514', constraint = 'balance_bounded';
  END IF;
  RETURN NULL;
END $$;
SELECT let_see_all('balance_bounded()');

CREATE OR REPLACE FUNCTION invoice_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
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
              WHERE t.invoice_id = n.id AND t.kind IN ('consume', 'return'))
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
SELECT let_see_all('invoice_adds_up()');

ALTER TABLE invoicing_invoicetax DROP CONSTRAINT tax_covered_not_negative;
"""

_PAID = (
    django.db.models.expressions.F("amount_paid")
    + django.db.models.expressions.F("balance_applied")
    + django.db.models.expressions.F("credit_applied")
)


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0012_accrual_guards"), ("wallets", "0006_burning_ahead_guards")]
    operations = [
        migrations.RunSQL(GUARDS),
        migrations.RemoveConstraint(model_name="invoice", name="invoice_paid_within_total"),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    kind="credit_memo",
                    amount_paid=0,
                    balance_applied=0,
                    credit_applied__lte=0,
                    credit_applied__gte=models.F("total"),
                )
                | models.Q(
                    kind="invoice",
                    amount_paid__gte=0,
                    balance_applied__gte=0,
                    total__gte=_PAID,
                ),
                name="invoice_paid_within_total",
            ),
        ),
    ]
