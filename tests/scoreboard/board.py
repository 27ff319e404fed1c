"""Which test keeps which row, as the source of the tests says; and the page that shows it."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "reliability.md"
_ROWS: Final = Path(__file__).with_name("rows.txt")
_NOT_BUILT: Final = Path(__file__).with_name("not_built.txt")
_MEASURED: Final = Path(__file__).with_name("measured.txt")
_MOST_SHOWN: Final = 4  # tests per row


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that must hold, be survived or be refused; ``by`` is "-" where nothing is built."""

    section: str
    id: str
    text: str
    by: str


def rows() -> list[Row]:
    """Return all rows, in order."""
    found = []
    section = ""
    for line in _ROWS.read_text().splitlines():
        if line.startswith("# "):
            section = line.removeprefix("# ")
        elif line:
            number, text, by = (part.strip() for part in line.split(" | "))
            found.append(Row(section, number, text, by))
    return found


def not_built() -> dict[str, str]:
    """Return the rows that no test can hold yet, each with the feature that it waits for."""
    found = {}
    for line in _NOT_BUILT.read_text().splitlines():
        feature, ids = line.split(" | ")
        found.update(dict.fromkeys(ids.split(), feature))
    return found


def holders(root: Path = ROOT) -> dict[str, list[str]]:
    """Return the tests that name each row by the marker ``holds``, as path::name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((root / "tests").rglob("*.py")):
        where = path.relative_to(root)
        for name, number in _marked(ast.parse(path.read_text())):
            holder = f"{where}::{name}" if name else str(where)
            if holder not in found[number]:
                found[number].append(holder)
    return dict(found)


def _marked(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the name of what is marked, "" for the module or a table of it, and the row."""
    for node in tree.body:
        is_named = isinstance(node, ast.FunctionDef | ast.ClassDef)
        name = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
        for inner in ast.walk(node):
            match inner:
                case ast.Call(func=ast.Attribute(attr="holds") | ast.Name(id="holds"), args=args):
                    for argument in args:
                        match argument:
                            case ast.Constant(value=str() as number):
                                yield (name if is_named else ""), number
                            case _:
                                raise ValueError(
                                    f"line {argument.lineno}: write the ids of rows out"
                                )
                case _:
                    pass


def page(kept: Mapping[str, list[str]]) -> str:
    """Return the page as Markdown."""
    listed = rows()
    held = sum(row.id in kept for row in listed)
    waiting = not_built()
    lines = [
        "# What must hold, what is survived, what is refused",
        "",
        "Written by `python -m tests.scoreboard` from the tests: a test names the rows that it keeps by",
        '`@pytest.mark.holds("F12")`. A row that no test holds says which feature it waits for.',
        "",
        f"{held} of {len(listed)} rows are held by a named test; {len(waiting)} wait for a feature.",
    ]
    section = ""
    for row in listed:
        if row.section != section:
            section = row.section
            lines += ["", f"## {section}", "", "| | what | how | test |", "|---|---|---|---|"]
        by = "–" if row.by == "-" else row.by
        held_by = _tests(kept.get(row.id, []), waits_for=waiting.get(row.id))
        lines.append(f"| {row.id} | {row.text} | {by} | {held_by} |")
    lines += [
        "",
        "## How far the tests themselves can be trusted",
        "",
        "| when | by | found |",
        "|---|---|---|",
    ]
    lines += [f"| {line} |" for line in _MEASURED.read_text().splitlines()]
    return "\n".join(lines) + "\n"


def _tests(names: list[str], *, waits_for: str | None) -> str:
    if not names:
        return f"not built: {waits_for}" if waits_for else "not yet"
    shown = [f"`{name.removeprefix('tests/')}`" for name in names[:_MOST_SHOWN]]
    more = len(names) - len(shown)
    return "<br>".join(shown) + (f"<br>and {more} more" if more else "")
