"""python -m tests.mutants [WORDS]: plant known bugs one at a time; every one must be found.

With words, only bugs whose names contain them. Each bug is planted in a copy of the tree and the
one test named for it is run there. Prints a table; exits with 1 if a bug survives.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.planting import FAILED, copy_tree, passes, plant
from tests.mutants.plants import PLANTS


def main(words: list[str]) -> int:
    """Try the bugs; return 0 if each was found by its test."""
    chosen = [one for one in PLANTS if all(word in one.name for word in words)]
    survived = []
    with tempfile.TemporaryDirectory(prefix="countinghouse-mutants-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        for number, one in enumerate(chosen, 1):
            began = time.monotonic()
            before = plant(one, tree)
            code, said = passes(one.test, tree)
            (tree / one.path).write_text(before)
            verdict = {0: "SURVIVED", FAILED: "found"}.get(code, "NOT TRIED")
            if verdict != "found":
                survived.append(one)
                sys.stderr.write(said[-3000:])
            seconds = time.monotonic() - began
            line = (
                f"{number:2}/{len(chosen)} {verdict:<9} {one.name:<62} {one.test} {seconds:.0f} s"
            )
            print(line, flush=True)  # noqa: T201 -- the table is what it is run for
    print(f"{len(chosen) - len(survived)} of {len(chosen)} found")  # noqa: T201 -- as above
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
