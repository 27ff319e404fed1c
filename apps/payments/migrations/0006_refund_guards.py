"""Rules of refunds that hold whoever writes: their life, and never more back than came in."""

from django.db import migrations

_REFUNDS = """
SELECT refuse_nan('payments_refund');
SELECT isolate('payments_refund');
SELECT isolate('payments_sandboxrefund');

-- A refund begins as pending, or as money paid back by hand; it moves only as
-- domain.REFUND_TRANSITIONS says, and what it is for never changes. All refunds of a payment that
-- have not failed are never more than came in, and what they take of the customer's account never
-- more than was not allocated. The lock waits for whoever refunds or allocates beside us.
CREATE FUNCTION refund_lives() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE moving CONSTANT text[] := '{status,provider_ref,failure_code,failure_message,settled_at,
                                    ask_after,asked}';
BEGIN
  IF tg_op = 'DELETE' THEN
    RAISE EXCEPTION 'a refund cannot be deleted'
      USING errcode = '23514', constraint = 'refund_kept';
  END IF;
  IF tg_op = 'INSERT' THEN
    IF NEW.status <> 'pending' AND (NEW.status, NEW.provider) <> ('succeeded', 'external') THEN
      RAISE EXCEPTION 'a refund begins as pending'
        USING errcode = '23514', constraint = 'refund_begins_as_pending';
    END IF;
    PERFORM FROM payments_payment WHERE id = NEW.payment_id FOR NO KEY UPDATE;
    IF NOT EXISTS (
         SELECT FROM payments_payment p
         WHERE p.id = NEW.payment_id AND p.status = 'succeeded'
           AND p.tenant_id = NEW.tenant_id AND p.customer_id = NEW.customer_id
           AND p.currency = NEW.currency AND NEW.provider IN (p.provider, 'external')
           AND NEW.amount = round(NEW.amount, currency_places(NEW.currency))
           AND NEW.from_account = round(NEW.from_account, currency_places(NEW.currency))) THEN
      RAISE EXCEPTION 'a refund is like its payment, which succeeded'
        USING errcode = '23514', constraint = 'refund_like_payment';
    END IF;
    IF NOT EXISTS (
         SELECT FROM payments_payment p
         CROSS JOIN LATERAL (
           SELECT coalesce(sum(r.amount), 0) AS amount,
                  coalesce(sum(r.from_account), 0) AS from_account
           FROM payments_refund r WHERE r.payment_id = p.id AND r.status <> 'failed') r
         CROSS JOIN LATERAL (
           SELECT coalesce(sum(a.amount), 0) AS amount
           FROM payments_allocation a WHERE a.payment_id = p.id) a
         WHERE p.id = NEW.payment_id AND p.amount >= r.amount + NEW.amount
           AND p.amount >= a.amount + r.from_account + NEW.from_account) THEN
      RAISE EXCEPTION 'this much of the payment cannot be paid back'
        USING errcode = '23514', constraint = 'refund_bounded';
    END IF;
    RETURN NEW;
  END IF;
  IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
       ('pending', 'unknown'), ('pending', 'succeeded'), ('pending', 'failed'),
       ('unknown', 'pending'), ('unknown', 'succeeded'), ('unknown', 'failed')) THEN
    RAISE EXCEPTION 'a refund cannot go from % to %', OLD.status, NEW.status
      USING errcode = '23514', constraint = 'refund_transition';
  END IF;
  IF to_jsonb(OLD) - moving <> to_jsonb(NEW) - moving
     OR (OLD.provider_ref IS NOT NULL AND NEW.provider_ref IS DISTINCT FROM OLD.provider_ref)
     OR (OLD.status IN ('succeeded', 'failed') AND to_jsonb(OLD) <> to_jsonb(NEW)) THEN
    RAISE EXCEPTION 'what a refund is for does not change'
      USING errcode = '23514', constraint = 'refund_immutable';
  END IF;
  RETURN NEW;
END $$;
SELECT let_see_all('refund_lives()');
CREATE TRIGGER refund_lives BEFORE INSERT OR UPDATE OR DELETE ON payments_refund
  FOR EACH ROW EXECUTE FUNCTION refund_lives();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON payments_refund
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- tenants that have refunds whose outcome is to be asked for
CREATE FUNCTION payments_tenants_to_ask_refunds(at timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT tenant_id FROM payments_refund WHERE ask_after <= at
$$;
"""
_ALLOCATION_BOUNDED = """
CREATE OR REPLACE FUNCTION allocation_bounded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM invoicing_invoice WHERE id = NEW.invoice_id FOR NO KEY UPDATE;
  PERFORM FROM payments_payment WHERE id = NEW.payment_id FOR NO KEY UPDATE;
  IF NOT EXISTS (
       SELECT FROM payments_payment p JOIN invoicing_invoice i ON i.id = NEW.invoice_id
       WHERE p.id = NEW.payment_id AND p.status = 'succeeded' AND i.kind = 'invoice'
         AND p.tenant_id = NEW.tenant_id AND i.tenant_id = NEW.tenant_id
         AND p.customer_id = i.customer_id
         AND p.currency = NEW.currency AND i.currency = NEW.currency
         AND NEW.amount = round(NEW.amount, currency_places(NEW.currency))
         AND p.amount >= NEW.amount + (
             SELECT coalesce(sum(a.amount), 0) FROM payments_allocation a
             WHERE a.payment_id = p.id) + (
             SELECT coalesce(sum(r.from_account), 0) FROM payments_refund r
             WHERE r.payment_id = p.id AND r.status <> 'failed')
         AND i.total - i.balance_applied - i.credit_applied >= NEW.amount + (
             SELECT coalesce(sum(a.amount), 0) FROM payments_allocation a
             WHERE a.invoice_id = i.id)) THEN
    RAISE EXCEPTION 'this much of the payment cannot be allocated to the invoice'
      USING errcode = '23514', constraint = 'allocation_bounded';
  END IF;
  RETURN NEW;
END $$;
SELECT let_see_all('allocation_bounded()');
"""
_BACK_ALLOCATION = """
CREATE OR REPLACE FUNCTION allocation_bounded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM invoicing_invoice WHERE id = NEW.invoice_id FOR NO KEY UPDATE;
  PERFORM FROM payments_payment WHERE id = NEW.payment_id FOR NO KEY UPDATE;
  IF NOT EXISTS (
       SELECT FROM payments_payment p JOIN invoicing_invoice i ON i.id = NEW.invoice_id
       WHERE p.id = NEW.payment_id AND p.status = 'succeeded' AND i.kind = 'invoice'
         AND p.tenant_id = NEW.tenant_id AND i.tenant_id = NEW.tenant_id
         AND p.customer_id = i.customer_id
         AND p.currency = NEW.currency AND i.currency = NEW.currency
         AND NEW.amount = round(NEW.amount, currency_places(NEW.currency))
         AND p.amount >= NEW.amount + (
             SELECT coalesce(sum(a.amount), 0) FROM payments_allocation a
             WHERE a.payment_id = p.id)
         AND i.total - i.balance_applied - i.credit_applied >= NEW.amount + (
             SELECT coalesce(sum(a.amount), 0) FROM payments_allocation a
             WHERE a.invoice_id = i.id)) THEN
    RAISE EXCEPTION 'this much of the payment cannot be allocated to the invoice'
      USING errcode = '23514', constraint = 'allocation_bounded';
  END IF;
  RETURN NEW;
END $$;
SELECT let_see_all('allocation_bounded()');
"""
_BACK_REFUNDS = """
DROP FUNCTION payments_tenants_to_ask_refunds;
DROP TRIGGER no_truncate ON payments_refund;
DROP TRIGGER refund_lives ON payments_refund;
DROP FUNCTION refund_lives;
SELECT join_tenants('payments_sandboxrefund');
SELECT join_tenants('payments_refund');
ALTER TABLE payments_refund
  DROP CONSTRAINT not_nan_amount, DROP CONSTRAINT not_nan_from_account;
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0005_refunds"), ("core", "0003_isolation")]
    operations = [
        migrations.RunSQL(_REFUNDS, _BACK_REFUNDS),
        migrations.RunSQL(_ALLOCATION_BOUNDED, _BACK_ALLOCATION),
    ]
