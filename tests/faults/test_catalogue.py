"""Every fault of the catalogue has a test that is called by its id, or a reason why not."""

import ast
import re
from pathlib import Path

from tests.faults.not_yet import CATALOGUE, NOT_YET


def test_every_fault_has_a_test() -> None:
    names = [
        node.name
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    tried = {f"F{found[1]}" for name in names if (found := re.match(r"test_f(\d+)_", name))}
    assert tried == set(CATALOGUE)
    assert set(NOT_YET) <= tried
