"""All benches by their names."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from apps.backoffice.bench.authorize import bench_authorize
from apps.backoffice.bench.backtest import bench_backtest
from apps.backoffice.bench.close import bench_close
from apps.backoffice.bench.ingest import bench_ingest
from apps.backoffice.bench.read import bench_read
from apps.backoffice.bench.report import Findings, Note
from apps.backoffice.bench.scratch import Scratch
from apps.backoffice.bench.single import bench_single
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.wallet import bench_wallet
from apps.rating.periods import Span

# over a month of UTC that has ended
Bench: TypeAlias = Callable[[Scratch, Sizes, Span, Note], Findings]

BENCHES: Final[Mapping[str, Bench]] = {
    "ingest": bench_ingest,
    "single": bench_single,
    "close": bench_close,
    "backtest": bench_backtest,
    "read": bench_read,
    "wallet": bench_wallet,
    "authorize": bench_authorize,
}
