"""Rules of credit that hold whoever writes: append-only, numbered, adding up, of one tenant."""

from django.db import migrations

FORWARD = """
SELECT refuse_nan('wallets_creditunit');
SELECT refuse_nan('wallets_creditprice');
SELECT refuse_nan('wallets_wallet');
SELECT refuse_nan('wallets_topoffrule');
SELECT refuse_nan('wallets_creditgrant');
SELECT refuse_nan('wallets_credithold');
SELECT refuse_nan('wallets_credittransaction');
SELECT refuse_nan('wallets_usagesettlement');
SELECT make_append_only('wallets_creditunit');
SELECT make_append_only('wallets_creditprice');
SELECT make_append_only('wallets_credittransaction');
SELECT make_append_only('wallets_usagesettlement');
SELECT make_append_only('wallets_settlementundone');

-- what refers to one another is of one tenant, and of one wallet
ALTER TABLE wallets_creditunit ADD CONSTRAINT credit_unit_of_tenant UNIQUE (tenant_id, id);
ALTER TABLE wallets_wallet
  ADD CONSTRAINT wallet_of_tenant UNIQUE (tenant_id, id),
  ADD CONSTRAINT wallet_customer_of_tenant FOREIGN KEY (tenant_id, customer_id)
    REFERENCES customers_customer (tenant_id, id),
  ADD CONSTRAINT wallet_unit_of_tenant FOREIGN KEY (tenant_id, unit_id)
    REFERENCES wallets_creditunit (tenant_id, id),
  ADD CONSTRAINT wallet_currency_form CHECK (currency ~ '^[A-Z]{3}$');
ALTER TABLE wallets_creditprice
  ADD CONSTRAINT credit_price_unit_of_tenant FOREIGN KEY (tenant_id, unit_id)
    REFERENCES wallets_creditunit (tenant_id, id);
ALTER TABLE wallets_topoffrule
  ADD CONSTRAINT top_off_of_tenant FOREIGN KEY (tenant_id, wallet_id)
    REFERENCES wallets_wallet (tenant_id, id);
ALTER TABLE wallets_creditgrant
  ADD CONSTRAINT grant_of_wallet UNIQUE (wallet_id, id),
  ADD CONSTRAINT grant_of_tenant FOREIGN KEY (tenant_id, wallet_id)
    REFERENCES wallets_wallet (tenant_id, id);
ALTER TABLE wallets_credithold
  ADD CONSTRAINT hold_of_wallet UNIQUE (wallet_id, id),
  ADD CONSTRAINT hold_of_tenant FOREIGN KEY (tenant_id, wallet_id)
    REFERENCES wallets_wallet (tenant_id, id);
ALTER TABLE wallets_credittransaction
  ADD CONSTRAINT credit_entry_of_tenant FOREIGN KEY (tenant_id, wallet_id)
    REFERENCES wallets_wallet (tenant_id, id),
  ADD CONSTRAINT credit_entry_grant_of_wallet FOREIGN KEY (wallet_id, grant_id)
    REFERENCES wallets_creditgrant (wallet_id, id),
  ADD CONSTRAINT credit_entry_hold_of_wallet FOREIGN KEY (wallet_id, hold_id)
    REFERENCES wallets_credithold (wallet_id, id);
ALTER TABLE wallets_usagesettlement
  ADD CONSTRAINT settlement_customer_of_tenant FOREIGN KEY (tenant_id, customer_id)
    REFERENCES customers_customer (tenant_id, id);

-- Written after the figures of wallets and grants: each transaction goes on from the one before,
-- and the last one of a wallet and of a grant says what the two say.
CREATE FUNCTION credit_entries_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (
       SELECT FROM written w
       LEFT JOIN wallets_credittransaction p
         ON p.wallet_id = w.wallet_id AND p.number = w.number - 1
       WHERE w.balance_after <> coalesce(p.balance_after, 0) + w.amount
          OR (p.id IS NULL) <> (w.number = 1))
     OR EXISTS (
       SELECT FROM written w
       LEFT JOIN LATERAL (
         SELECT p.grant_after FROM wallets_credittransaction p
         WHERE p.grant_id = w.grant_id AND p.number < w.number
         ORDER BY p.number DESC LIMIT 1) p ON true
       WHERE w.grant_id IS NOT NULL AND w.grant_after <> coalesce(p.grant_after, 0) + w.amount)
     OR EXISTS (
       SELECT FROM (SELECT DISTINCT ON (wallet_id) * FROM written
                    ORDER BY wallet_id, number DESC) l
       JOIN wallets_wallet w ON w.id = l.wallet_id
       WHERE (w.entries, w.balance) <> (l.number, l.balance_after))
     OR EXISTS (
       SELECT FROM (SELECT DISTINCT ON (grant_id) * FROM written WHERE grant_id IS NOT NULL
                    ORDER BY grant_id, number DESC) l
       JOIN wallets_creditgrant g ON g.id = l.grant_id
       WHERE g.remaining <> l.grant_after) THEN
    RAISE EXCEPTION 'the transactions of a wallet do not follow each other'
      USING errcode = '23514', constraint = 'credit_entries_follow';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER credit_entries_follow AFTER INSERT ON wallets_credittransaction
  REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION credit_entries_follow();

-- At commit: balance = last transaction = what the grants have left, less what was lent.
CREATE FUNCTION wallet_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  w wallets_wallet%ROWTYPE;
  last record;
  credit record;
  put_aside numeric;
BEGIN
  SELECT * INTO w FROM wallets_wallet WHERE id = NEW.id;
  SELECT number, balance_after INTO last FROM wallets_credittransaction
  WHERE wallet_id = w.id ORDER BY number DESC LIMIT 1;
  SELECT coalesce(sum(remaining), 0) AS remaining, coalesce(sum(held), 0) AS held INTO credit
  FROM wallets_creditgrant WHERE wallet_id = w.id AND (remaining > 0 OR held > 0);
  SELECT coalesce(sum(amount), 0) INTO put_aside
  FROM wallets_credithold WHERE wallet_id = w.id AND status = 'open';
  IF w.balance <> coalesce(last.balance_after, 0) OR w.entries <> coalesce(last.number, 0)
     OR w.balance <> credit.remaining - w.overdrawn
     OR w.held <> credit.held OR w.held <> put_aside THEN
    RAISE EXCEPTION 'wallet % does not add up', w.id
      USING errcode = '23514', constraint = 'wallet_adds_up';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER wallet_adds_up AFTER INSERT OR UPDATE ON wallets_wallet
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wallet_adds_up();

CREATE FUNCTION grant_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  g wallets_creditgrant%ROWTYPE;
  last numeric;
BEGIN
  SELECT * INTO g FROM wallets_creditgrant WHERE id = NEW.id;
  SELECT grant_after INTO last FROM wallets_credittransaction
  WHERE grant_id = g.id ORDER BY number DESC LIMIT 1;
  IF g.remaining <> coalesce(last, 0) OR (g.available_at IS NULL) <> (last IS NULL) THEN
    RAISE EXCEPTION 'grant % does not add up', g.id
      USING errcode = '23514', constraint = 'grant_adds_up';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER grant_adds_up AFTER INSERT OR UPDATE ON wallets_creditgrant
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION grant_adds_up();

-- What makes a wallet and a grant what they are never changes, and neither is ever deleted.
CREATE FUNCTION wallet_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_op = 'DELETE'
     OR (NEW.id, NEW.tenant_id, NEW.customer_id, NEW.currency, NEW.settlement, NEW.created_at)
        <> (OLD.id, OLD.tenant_id, OLD.customer_id, OLD.currency, OLD.settlement, OLD.created_at)
     OR NEW.unit_id IS DISTINCT FROM OLD.unit_id
     OR NEW.entries < OLD.entries
     OR (OLD.status = 'closed' AND NEW.status <> 'closed') THEN
    RAISE EXCEPTION 'a wallet stays what it is'
      USING errcode = '23514', constraint = 'wallet_stays';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER wallet_stays BEFORE UPDATE OR DELETE ON wallets_wallet
  FOR EACH ROW EXECUTE FUNCTION wallet_stays();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON wallets_wallet
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION grant_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_op = 'DELETE'
     OR (NEW.id, NEW.tenant_id, NEW.wallet_id, NEW.kind, NEW.source, NEW.amount, NEW.value,
         NEW.created_at)
        <> (OLD.id, OLD.tenant_id, OLD.wallet_id, OLD.kind, OLD.source, OLD.amount, OLD.value,
            OLD.created_at)
     OR (OLD.available_at IS NOT NULL
         AND (NEW.effective_at <> OLD.effective_at
              OR OLD.expires_at IS DISTINCT FROM NEW.expires_at))
     OR (OLD.invoice_id IS NOT NULL AND NEW.invoice_id IS DISTINCT FROM OLD.invoice_id)
     OR (OLD.available_at IS NOT NULL AND NEW.available_at IS DISTINCT FROM OLD.available_at) THEN
    RAISE EXCEPTION 'a grant stays what it is'
      USING errcode = '23514', constraint = 'grant_stays';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER grant_stays BEFORE UPDATE OR DELETE ON wallets_creditgrant
  FOR EACH ROW EXECUTE FUNCTION grant_stays();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON wallets_creditgrant
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION hold_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_op = 'DELETE' OR OLD.status <> 'open'
     OR (NEW.id, NEW.tenant_id, NEW.wallet_id, NEW.amount)
        <> (OLD.id, OLD.tenant_id, OLD.wallet_id, OLD.amount) THEN
    RAISE EXCEPTION 'a hold ends once and stays what it was'
      USING errcode = '23514', constraint = 'hold_stays';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER hold_stays BEFORE UPDATE OR DELETE ON wallets_credithold
  FOR EACH ROW EXECUTE FUNCTION hold_stays();

INSERT INTO wallets_burnfrontier (id, below_xid) VALUES (1, 0);
"""
BACKWARD = """
DELETE FROM wallets_burnfrontier;
DROP TRIGGER hold_stays ON wallets_credithold;
DROP TRIGGER no_truncate ON wallets_creditgrant;
DROP TRIGGER grant_stays ON wallets_creditgrant;
DROP TRIGGER no_truncate ON wallets_wallet;
DROP TRIGGER wallet_stays ON wallets_wallet;
DROP TRIGGER grant_adds_up ON wallets_creditgrant;
DROP TRIGGER wallet_adds_up ON wallets_wallet;
DROP TRIGGER credit_entries_follow ON wallets_credittransaction;
DROP FUNCTION hold_stays, grant_stays, wallet_stays, grant_adds_up, wallet_adds_up,
              credit_entries_follow;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0001_initial"),
        ("customers", "0003_guards"),
        ("core", "0002_guards"),
    ]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
