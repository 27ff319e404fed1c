"""Backtests are their tenant's own, and their amounts are numbers."""

from django.db import migrations

FORWARD = """
ALTER TABLE invoicing_backtest ADD CONSTRAINT backtest_status_known
  CHECK (status IN ('running', 'done', 'canceled', 'failed'));
ALTER TABLE invoicing_backtestcustomer ADD CONSTRAINT backtest_outcome_known
  CHECK (outcome IN ('pending', 'winner', 'loser', 'unchanged', 'skipped', 'failed'));
SELECT refuse_nan('invoicing_backtestcustomer');
SELECT isolate('invoicing_backtest');
SELECT isolate('invoicing_backtestcustomer');
"""
BACKWARD = """
ALTER TABLE invoicing_backtestcustomer DROP CONSTRAINT backtest_outcome_known;
ALTER TABLE invoicing_backtest DROP CONSTRAINT backtest_status_known;
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0003_isolation"), ("invoicing", "0014_backtests")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
