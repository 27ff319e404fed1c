"""python -m tests.scoreboard: write docs/reliability.md anew."""

import sys

from tests.scoreboard.board import PAGE, holders, not_built, page, rows

kept = holders()
PAGE.write_text(page(kept))
missing = [row.id for row in rows() if row.id not in kept.keys() | not_built().keys()]
sys.stdout.write(
    f"{PAGE}: {len(missing)} rows have neither a test nor a reason: {' '.join(missing)}\n"
)
