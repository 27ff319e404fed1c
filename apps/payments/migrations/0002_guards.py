"""Rules of payments that hold whoever writes: their life, what never changes, what is allocated."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('payments_payment');
SELECT refuse_nan('payments_allocation');
SELECT make_append_only('payments_allocation');

-- A payment begins as created, or as money that came by itself; it moves only as
-- domain.PAYMENT_TRANSITIONS says; what was asked for never changes, what was learned never goes.
CREATE FUNCTION payment_lives() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE moving CONSTANT text[] := '{status,provider_ref,failure_code,failure_message,sent_at,
                                    settled_at,ask_after,asked}';
BEGIN
  IF tg_op = 'DELETE' THEN
    RAISE EXCEPTION 'a payment cannot be deleted'
      USING errcode = '23514', constraint = 'payment_kept';
  END IF;
  IF tg_op = 'INSERT' THEN
    IF NEW.status <> 'created' AND (NEW.status, NEW.provider) <> ('succeeded', 'external') THEN
      RAISE EXCEPTION 'a payment begins as created'
        USING errcode = '23514', constraint = 'payment_begins_as_created';
    END IF;
    IF NOT EXISTS (SELECT FROM invoicing_invoice i
                   WHERE i.id = NEW.invoice_id AND i.tenant_id = NEW.tenant_id
                     AND i.customer_id = NEW.customer_id AND i.currency = NEW.currency
                     AND NEW.amount = round(NEW.amount, currency_places(NEW.currency))) THEN
      RAISE EXCEPTION 'a payment has tenant, customer and currency of its invoice'
        USING errcode = '23514', constraint = 'payment_like_invoice';
    END IF;
    IF NEW.method_id IS NOT NULL AND NOT EXISTS (
         SELECT FROM payments_paymentmethod m
         WHERE m.id = NEW.method_id AND m.tenant_id = NEW.tenant_id
           AND m.customer_id = NEW.customer_id AND m.provider = NEW.provider) THEN
      RAISE EXCEPTION 'a payment uses a method of its customer and provider'
        USING errcode = '23514', constraint = 'payment_like_method';
    END IF;
    RETURN NEW;
  END IF;
  IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
       ('created', 'sent'), ('created', 'canceled'),
       ('sent', 'unknown'), ('sent', 'pending'), ('sent', 'succeeded'), ('sent', 'failed'),
       ('unknown', 'pending'), ('unknown', 'succeeded'), ('unknown', 'failed'),
       ('pending', 'succeeded'), ('pending', 'failed'), ('pending', 'canceled'),
       ('failed', 'succeeded')) THEN
    RAISE EXCEPTION 'a payment cannot go from % to %', OLD.status, NEW.status
      USING errcode = '23514', constraint = 'payment_transition';
  END IF;
  IF to_jsonb(OLD) - moving <> to_jsonb(NEW) - moving
     OR (OLD.provider_ref IS NOT NULL AND NEW.provider_ref IS DISTINCT FROM OLD.provider_ref)
     OR (OLD.sent_at IS NOT NULL AND NEW.sent_at IS DISTINCT FROM OLD.sent_at)
     OR (OLD.settled_at IS NOT NULL AND NEW.settled_at IS DISTINCT FROM OLD.settled_at)
     OR (OLD.status = 'succeeded' AND to_jsonb(OLD) <> to_jsonb(NEW)) THEN
    RAISE EXCEPTION 'what a payment asked for does not change'
      USING errcode = '23514', constraint = 'payment_immutable';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER payment_lives BEFORE INSERT OR UPDATE OR DELETE ON payments_payment
  FOR EACH ROW EXECUTE FUNCTION payment_lives();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON payments_payment
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Only received money is allocated, never more than came in, never more than an invoice asks for.
-- The locks wait for whoever allocates beside us; what is read after them is what he left.
CREATE FUNCTION allocation_bounded() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER allocation_bounded BEFORE INSERT ON payments_allocation
  FOR EACH ROW EXECUTE FUNCTION allocation_bounded();

-- A method is what it was attached as, for ever; once detached it stays so.
CREATE FUNCTION method_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE moving CONSTANT text[] := '{label,is_default,default_since,detached_at}';
BEGIN
  IF tg_op = 'DELETE' OR to_jsonb(OLD) - moving <> to_jsonb(NEW) - moving
     OR (OLD.detached_at IS NOT NULL AND NEW.detached_at IS DISTINCT FROM OLD.detached_at) THEN
    RAISE EXCEPTION 'a payment method does not change'
      USING errcode = '23514', constraint = 'payment_method_kept';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER method_kept BEFORE UPDATE OR DELETE ON payments_paymentmethod
  FOR EACH ROW EXECUTE FUNCTION method_kept();

CREATE FUNCTION method_like_customer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM customers_customer c
                 WHERE c.id = NEW.customer_id AND c.tenant_id = NEW.tenant_id) THEN
    RAISE EXCEPTION 'a payment method is of the tenant of its customer'
      USING errcode = '23514', constraint = 'payment_method_like_customer';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER method_like_customer BEFORE INSERT ON payments_paymentmethod
  FOR EACH ROW EXECUTE FUNCTION method_like_customer();
"""
BACKWARD = """
DROP TRIGGER method_like_customer ON payments_paymentmethod;
DROP TRIGGER method_kept ON payments_paymentmethod;
DROP TRIGGER allocation_bounded ON payments_allocation;
DROP TRIGGER no_truncate ON payments_payment;
DROP TRIGGER payment_lives ON payments_payment;
DROP FUNCTION method_like_customer, method_kept, allocation_bounded, payment_lives;
DROP TRIGGER append_only ON payments_allocation;
DROP TRIGGER no_truncate ON payments_allocation;
ALTER TABLE payments_allocation DROP CONSTRAINT not_nan_amount;
ALTER TABLE payments_payment DROP CONSTRAINT not_nan_amount;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0001_initial"),
        ("core", "0002_guards"),
        ("invoicing", "0003_guards"),
    ]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
