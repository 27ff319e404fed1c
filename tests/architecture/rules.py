"""Rules about the code that no off-the-shelf linter knows: each maps a tree to its offenders.

Every rule takes the root of a project, so that it can be tried on a copy with a planted violation,
and returns lines like "apps/wallets/tasks.py:12 …".
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

Rule = Callable[[Path], list[str]]

_CREATES: Final = {"create", "bulk_create", "get_or_create", "update_or_create", "bulk_update"}
_CHANGES: Final = _CREATES | {"update", "delete", "aupdate", "adelete", "acreate"}
_PURE_FILES: Final = {
    "domain.py",
    "assembly.py",
    "committing.py",
    "discounting.py",
    "lines.py",
    "slicing.py",
}
_NOT_FOR_MIGRATIONS: Final = {"admin", "api", "models", "operations", "queries", "tasks", "views"}
_NO_STATES: Final = {
    Path("apps/core/states.py"),  # it is the one that may
    Path("apps/core/idempotency.py"),  # its status is that of an HTTP answer
}
_SETS_STATUS: Final = re.compile(
    r"\bupdate\s+\w+(\s+(as\s+)?\w+)?\s+set\b[^;]*\bstatus\s*=", re.IGNORECASE
)
_WRITES_TABLE: Final = re.compile(
    r"\b(?:insert\s+into|update|delete\s+from|truncate(?:\s+table)?|copy)\s+\"?([a-z]+)_[a-z]",
    re.IGNORECASE,
)


def status_changes_outside_move(root: Path) -> list[str]:
    """Only core/states.py may set the status of a row that exists."""
    offenders = []
    for path, tree in _modules(root):
        if path in _NO_STATES:
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(attr="status", ctx=ast.Store()):
                    offenders.append(f"{path}:{node.lineno} assigns a status")
                case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant("status"), _]):
                    offenders.append(f"{path}:{node.lineno} assigns a status")
                case ast.Call(func=ast.Attribute(attr="update"), keywords=keywords) if any(
                    keyword.arg == "status" for keyword in keywords
                ):
                    offenders.append(f"{path}:{node.lineno} updates a status")
                case ast.Call(func=ast.Attribute(attr="bulk_update")) if _mentions(node, "status"):
                    offenders.append(f"{path}:{node.lineno} updates a status")
                case ast.Constant(value=str() as text) if _SETS_STATUS.search(text):
                    offenders.append(f"{path}:{node.lineno} sets a status in SQL")
                case _:
                    pass
    return offenders


def writes_to_tables_of_other_apps(root: Path) -> list[str]:
    """An app builds, stores, changes and deletes rows of its own tables only."""
    apps = {path.name for path in (root / "apps").iterdir() if path.is_dir()}
    offenders = []
    for path, tree in _modules(root):
        app = path.parts[1]
        foreign = _foreign_models(tree, app)
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id=name)) if name in foreign:
                    offenders.append(f"{path}:{node.lineno} builds {name}")
                case ast.Call(func=ast.Attribute(attr=verb, value=chain)) if (
                    verb in _CHANGES and _first_name(chain) in foreign
                ):
                    offenders.append(f"{path}:{node.lineno} {_first_name(chain)}…{verb}")
                case ast.Constant(value=str() as text):
                    others = {table.lower() for table in _WRITES_TABLE.findall(text)} & apps - {app}
                    offenders += [f"{path}:{node.lineno} writes {o}_… in SQL" for o in others]
                case _:
                    pass
    return offenders


def inexact_arithmetic_in_pure_code(root: Path) -> list[str]:
    """Pure code knows no float, and rounds by core.money alone."""
    offenders = []
    for path, tree in _modules(root):
        is_pure = path.parts[1] == "rating" or path.name in _PURE_FILES or "domain" in path.parts
        if not is_pure:
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="round" | "float" as name)):
                    offenders.append(f"{path}:{node.lineno} calls {name}()")
                case ast.Constant(value=float() as value):
                    offenders.append(f"{path}:{node.lineno} writes the float {value}")
                case _:
                    pass
    return offenders


def migrations_that_lean_on_the_apps(root: Path) -> list[str]:
    """A migration means the same for ever, so it uses no code that will change.

    What Django itself writes into one (`import apps.core.ids` for a default) may stay.
    """
    offenders = []
    for path in sorted(root.glob("apps/*/migrations/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ImportFrom(module=str() as module):
                    modules = [f"{module}.{alias.name}" for alias in node.names]
                    bad = module.split(".")[0] == "apps"
                case ast.Import(names=names):
                    modules = [alias.name for alias in names]
                    bad = any(
                        name.startswith("apps.") and set(name.split(".")) & _NOT_FOR_MIGRATIONS
                        for name in modules
                    )
                case _:
                    continue
            if bad:
                offenders.append(
                    f"{path.relative_to(root)}:{node.lineno} imports {', '.join(modules)}"
                )
    return offenders


RULES: Final[Mapping[str, Rule]] = {
    "status only by move": status_changes_outside_move,
    "an app writes only its own tables": writes_to_tables_of_other_apps,
    "no float, no round in pure code": inexact_arithmetic_in_pure_code,
    "migrations stand alone": migrations_that_lean_on_the_apps,
}


def _modules(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Every module of every app, migrations aside, with its path from the root."""
    for path in sorted(root.glob("apps/*/**/*.py")):
        if "migrations" not in path.parts:
            yield path.relative_to(root), ast.parse(path.read_text())


def _mentions(call: ast.Call, text: str) -> bool:
    return any(isinstance(n, ast.Constant) and n.value == text for n in ast.walk(call))


def _foreign_models(tree: ast.Module, app: str) -> set[str]:
    """The names by which a module knows models of other apps, or their models modules."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        match (node.module or "").split("."):
            case ["apps", other, "models", *_] if other != app:
                found |= {alias.asname or alias.name for alias in node.names}
            case ["apps", other] if other != app:
                found |= {a.asname or a.name for a in node.names if a.name == "models"}
            case _:
                pass
    return found


def _first_name(chain: ast.expr) -> str:
    """The name that a chain of attributes and calls begins with."""
    while not isinstance(chain, ast.Name):
        match chain:
            case ast.Attribute(value=inner) | ast.Call(func=inner) | ast.Subscript(value=inner):
                chain = inner
            case _:
                return ""
    return chain.id
