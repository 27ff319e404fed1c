"""Rules of disputes that hold whoever writes: their life, and what is disputed is nobody else's."""

from typing import Final

from django.db import migrations

_DISPUTES = """
SELECT refuse_nan('payments_dispute');
SELECT isolate('payments_dispute');

-- A dispute begins as opened; it moves only as domain.DISPUTE_TRANSITIONS says, and what it is
-- about never changes. What of a payment is disputed, or lost, and what is paid back of it are never
-- more than came in, and what they take of the customer's account never more than was not allocated. The
-- lock waits for whoever refunds, disputes or allocates beside us.
CREATE FUNCTION dispute_lives() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE moving CONSTANT text[] := '{status,decided_at,credit_taken_at,credit_settled_at}';
BEGIN
  IF tg_op = 'DELETE' THEN
    RAISE EXCEPTION 'a dispute cannot be deleted'
      USING errcode = '23514', constraint = 'dispute_kept';
  END IF;
  IF tg_op = 'INSERT' THEN
    IF NEW.status <> 'opened' THEN
      RAISE EXCEPTION 'a dispute begins as opened'
        USING errcode = '23514', constraint = 'dispute_begins_as_opened';
    END IF;
    PERFORM FROM payments_payment WHERE id = NEW.payment_id FOR NO KEY UPDATE;
    IF NOT EXISTS (
         SELECT FROM payments_payment p
         WHERE p.id = NEW.payment_id AND p.status = 'succeeded'
           AND p.tenant_id = NEW.tenant_id AND p.customer_id = NEW.customer_id
           AND p.currency = NEW.currency AND p.provider = NEW.provider
           AND NEW.amount = round(NEW.amount, currency_places(NEW.currency))
           AND NEW.fee = round(NEW.fee, currency_places(NEW.currency))
           AND NEW.from_account = round(NEW.from_account, currency_places(NEW.currency))) THEN
      RAISE EXCEPTION 'a dispute is like its payment, which succeeded'
        USING errcode = '23514', constraint = 'dispute_like_payment';
    END IF;
    IF NOT EXISTS (
         SELECT FROM payments_payment p
         CROSS JOIN LATERAL (
           SELECT coalesce(sum(r.amount), 0) AS amount,
                  coalesce(sum(r.from_account), 0) AS from_account
           FROM payments_refund r WHERE r.payment_id = p.id AND r.status <> 'failed') r
         CROSS JOIN LATERAL (
           SELECT coalesce(sum(d.amount), 0) AS amount,
                  coalesce(sum(d.from_account), 0) AS from_account
           FROM payments_dispute d WHERE d.payment_id = p.id AND d.status <> 'won') d
         CROSS JOIN LATERAL (
           SELECT coalesce(sum(a.amount), 0) AS amount
           FROM payments_allocation a WHERE a.payment_id = p.id) a
         WHERE p.id = NEW.payment_id AND p.amount >= r.amount + d.amount + NEW.amount
           AND p.amount >= a.amount + r.from_account + d.from_account + NEW.from_account) THEN
      RAISE EXCEPTION 'this much of the payment cannot be disputed'
        USING errcode = '23514', constraint = 'dispute_bounded';
    END IF;
    RETURN NEW;
  END IF;
  IF OLD.status <> NEW.status
     AND (OLD.status, NEW.status) NOT IN (('opened', 'won'), ('opened', 'lost')) THEN
    RAISE EXCEPTION 'a dispute cannot go from % to %', OLD.status, NEW.status
      USING errcode = '23514', constraint = 'dispute_transition';
  END IF;
  IF to_jsonb(OLD) - moving <> to_jsonb(NEW) - moving
     OR (OLD.decided_at IS NOT NULL AND NEW.decided_at IS DISTINCT FROM OLD.decided_at)
     OR (OLD.credit_taken_at IS NOT NULL
         AND NEW.credit_taken_at IS DISTINCT FROM OLD.credit_taken_at)
     OR (OLD.credit_settled_at IS NOT NULL
         AND NEW.credit_settled_at IS DISTINCT FROM OLD.credit_settled_at) THEN
    RAISE EXCEPTION 'what a dispute is about does not change'
      USING errcode = '23514', constraint = 'dispute_immutable';
  END IF;
  RETURN NEW;
END $$;
SELECT let_see_all('dispute_lives()');
CREATE TRIGGER dispute_lives BEFORE INSERT OR UPDATE OR DELETE ON payments_dispute
  FOR EACH ROW EXECUTE FUNCTION dispute_lives();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON payments_dispute
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
_BACK_DISPUTES = """
DROP TRIGGER no_truncate ON payments_dispute;
DROP TRIGGER dispute_lives ON payments_dispute;
DROP FUNCTION dispute_lives;
SELECT join_tenants('payments_dispute');
ALTER TABLE payments_dispute
  DROP CONSTRAINT not_nan_amount, DROP CONSTRAINT not_nan_from_account, DROP CONSTRAINT not_nan_fee;
"""
# As 0006 has them; the two marks say where what is disputed is added.
_OTHERS: Final = """
CREATE OR REPLACE FUNCTION refund_lives() RETURNS trigger LANGUAGE plpgsql AS $$
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
         WHERE p.id = NEW.payment_id AND p.amount >= r.amount + NEW.amount -- disputed
           AND p.amount >= a.amount + r.from_account + NEW.from_account -- from account
       ) THEN
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
SELECT let_see_all('refund_lives()');

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
             WHERE r.payment_id = p.id AND r.status <> 'failed') -- from account
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
_DISPUTED: Final = """ + (
             SELECT coalesce(sum(d.amount), 0) FROM payments_dispute d
             WHERE d.payment_id = p.id AND d.status <> 'won')"""
_FROM_ACCOUNT: Final = """ + (
             SELECT coalesce(sum(d.from_account), 0) FROM payments_dispute d
             WHERE d.payment_id = p.id AND d.status <> 'won')"""


def _others(disputed: str, from_account: str) -> str:
    return _OTHERS.replace(" -- disputed", disputed).replace(" -- from account", from_account)


class Migration(migrations.Migration):
    dependencies = [("payments", "0008_disputes"), ("core", "0003_isolation")]
    operations = [
        migrations.RunSQL(_DISPUTES, _BACK_DISPUTES),
        migrations.RunSQL(_others(_DISPUTED, _FROM_ACCOUNT), _others("", "")),
    ]
