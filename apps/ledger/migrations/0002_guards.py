"""Rules of the books that hold whoever writes: append-only, sealed, balanced, one currency."""

from django.db import migrations

FORWARD = """
SELECT make_append_only('ledger_ledgeraccount');
SELECT make_append_only('ledger_journalentry');
SELECT make_append_only('ledger_posting');
SELECT refuse_nan('ledger_posting');

-- a column of its own, not xmin: inside a savepoint xmin is the subtransaction's
ALTER TABLE ledger_journalentry
  ADD COLUMN written_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  ALTER COLUMN posted_at SET DEFAULT clock_timestamp();

CREATE FUNCTION journal_written_now() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.posted_at := clock_timestamp();
  NEW.written_xid := pg_current_xact_id();
  RETURN NEW;
END $$;
CREATE TRIGGER journal_written_now BEFORE INSERT ON ledger_journalentry
  FOR EACH ROW EXECUTE FUNCTION journal_written_now();

-- What postings must be, checked once per statement. Entries and accounts never change or go, so
-- what holds when a posting is written holds for ever. By index, however the plan was first made.
CREATE FUNCTION posting_fits() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin TO off SET enable_mergejoin TO off SET enable_seqscan TO off AS $$
BEGIN
  -- joined by primary key alone, so that no plan can take another index
  IF EXISTS (SELECT FROM written w LEFT JOIN ledger_ledgeraccount a ON a.id = w.account_id
             WHERE (a.tenant_id = w.tenant_id AND a.currency = w.currency) IS NOT TRUE) THEN
    RAISE EXCEPTION 'a posting has another tenant or currency than its account'
      USING errcode = '23514', constraint = 'posting_like_account';
  END IF;
  IF EXISTS (SELECT FROM written w LEFT JOIN ledger_journalentry e ON e.id = w.entry_id
             WHERE (e.tenant_id = w.tenant_id AND e.written_xid = pg_current_xact_id()
                    AND w.number BETWEEN 1 AND e.legs) IS NOT TRUE) THEN
    RAISE EXCEPTION 'the journal entry is sealed'
      USING errcode = '23514', constraint = 'journal_sealed';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER posting_fits AFTER INSERT ON ledger_posting
  REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION posting_fits();

-- At commit an entry has all its legs and they cancel out; later it is sealed. A reversal is the
-- exact negation of what it reverses.
CREATE FUNCTION journal_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT sum(p.legs) = NEW.legs AND bool_and(p.amount = 0)
      FROM (SELECT count(*) AS legs, sum(amount) AS amount FROM ledger_posting
            WHERE entry_id = NEW.id GROUP BY currency) p) IS NOT TRUE THEN
    RAISE EXCEPTION 'journal entry % does not balance', NEW.id
      USING errcode = '23514', constraint = 'journal_balanced';
  END IF;
  IF NEW.reverses_id IS NOT NULL AND (
       NOT EXISTS (SELECT FROM ledger_journalentry e
                   WHERE e.id = NEW.reverses_id AND e.tenant_id = NEW.tenant_id)
       OR EXISTS (SELECT FROM ledger_posting WHERE entry_id IN (NEW.id, NEW.reverses_id)
                  GROUP BY account_id HAVING sum(amount) <> 0)) THEN
    RAISE EXCEPTION 'journal entry % is not the negation of %', NEW.id, NEW.reverses_id
      USING errcode = '23514', constraint = 'journal_reversal_exact';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER journal_balanced AFTER INSERT ON ledger_journalentry
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION journal_balanced();
"""
BACKWARD = """
DROP TRIGGER journal_balanced ON ledger_journalentry;
DROP TRIGGER posting_fits ON ledger_posting;
DROP TRIGGER journal_written_now ON ledger_journalentry;
DROP FUNCTION journal_balanced, posting_fits, journal_written_now;
ALTER TABLE ledger_journalentry DROP COLUMN written_xid, ALTER COLUMN posted_at DROP DEFAULT;
ALTER TABLE ledger_posting DROP CONSTRAINT not_nan_amount;
DROP TRIGGER append_only ON ledger_posting;
DROP TRIGGER no_truncate ON ledger_posting;
DROP TRIGGER append_only ON ledger_journalentry;
DROP TRIGGER no_truncate ON ledger_journalentry;
DROP TRIGGER append_only ON ledger_ledgeraccount;
DROP TRIGGER no_truncate ON ledger_ledgeraccount;
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial"), ("core", "0002_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
