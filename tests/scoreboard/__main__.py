"""python -m tests.scoreboard: write docs/reliability.md anew."""

import sys

from tests.scoreboard.board import PAGE, holders, page, rows

kept = holders()
PAGE.write_text(page(kept))
missing = [row.id for row in rows() if row.id not in kept]
sys.stdout.write(f"{PAGE}: {len(missing)} rows have no test: {' '.join(missing)}\n")
