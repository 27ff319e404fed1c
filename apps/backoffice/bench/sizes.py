"""How much a bench does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that ``docs/performance.md`` speaks of; tests use tiny ones."""

    rounds: int = 3
    # close, and the events of backtest
    subscriptions: int = 10_000
    events: int = 100  # of each subscription in the month
    many_subscriptions: int = 10_000
    many_events: int = 1_000
    sample: int = 200  # subscriptions that are also measured by one query per charge
    # backtest
    backtested: int = 2_000
    # ingest and read
    batch: int = 1_000
    batches: int = 40  # per connection and round
    present: int = 5_000_000  # events that are there already
    # wallet
    wallets: int = 10_000
    spenders: int = 4  # of the hot wallet at the same time
    spends: int = 500  # of each
    # single and read
    requests: int = 4_000
