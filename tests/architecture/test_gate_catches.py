"""Every rule of the gate, seen to fail on a violation planted in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from launcher.instance import data_folder
from tests.architecture.rules import RULES

PARTS = (
    "apps",
    "billing_project",
    "deploy",
    "docs",
    "examples",
    "launcher",
    "static",
    "templates",
    "tests",
)
FILES = ("manage.py", "dev", "pyproject.toml")


class Copy:
    """A copy of the project in which a test may plant things; `clear` takes them out again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._was: dict[Path, str | None] = {}

    def plant(self, where: str, text: str) -> None:
        """Add text to a file of the copy, which need not exist."""
        path = self.root / where
        self._was.setdefault(path, path.read_text() if path.exists() else None)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((self._was[path] or "") + text)

    def clear(self) -> None:
        for path, text in self._was.items():
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        self._was.clear()

    def check(self, step: str) -> str:
        """Run one step of the gate on the copy, see it fail, and return what it said."""
        environ = {n: value for n, value in os.environ.items() if not n.startswith("PYTEST_")}
        done = subprocess.run(
            [sys.executable, "-m", "launcher", "check", "--only", step],
            cwd=self.root,
            env={**environ, "BILLING_DATA_DIR": str(data_folder())},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert f"FAIL {step}" in done.stdout, done.stdout
        assert done.returncode != 0
        return done.stdout


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    root = tmp_path_factory.mktemp("copy")
    unwanted = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        if (settings.BASE_DIR / part).exists():
            shutil.copytree(settings.BASE_DIR / part, root / part, ignore=unwanted)
    for file in (*FILES, *(path.name for path in settings.BASE_DIR.glob("*.lock"))):
        shutil.copy2(settings.BASE_DIR / file, root / file)
    types_known = settings.BASE_DIR / ".mypy_cache"
    if types_known.exists():
        shutil.copytree(types_known, root / types_known.name, dirs_exist_ok=True)
    return Copy(root)


@pytest.fixture
def copy(copied: Copy) -> Iterator[Copy]:
    yield copied
    copied.clear()


STATUS = [
    "def f(row): row.status = 'paid'\n",
    "def f(row): row.was, row.status = row.status, 'paid'\n",
    "def f(row): row.status: str = 'paid'\n",
    "def f(row): setattr(row, 'status', 'paid')\n",
    "def f(rows): rows.filter(id=1).update(status='paid')\n",
    "def f(model, rows): model.objects.bulk_update(rows, ['status'])\n",
    "SQL = 'UPDATE invoicing_invoice i SET due = now(), status = %s WHERE true'\n",
]
FOREIGN = [
    "from apps.invoicing.models import Invoice\nInvoice(total=1)\n",
    "from apps.invoicing.models import Invoice\nInvoice.objects.create(total=1)\n",
    "from apps.invoicing.models import Invoice as I\nI.objects.filter(id=1).update(total=1)\n",
    "from apps.invoicing.models import Invoice\nInvoice.objects.filter(id=1).delete()\n",
    "from apps.invoicing import models\nmodels.Invoice.objects.bulk_create([])\n",
    "SQL = 'insert into invoicing_invoice (id) values (1)'\n",
    "SQL = f'DELETE FROM invoicing_line WHERE id = {1}'\n",
]
INEXACT = [
    "def f(x): return round(x, 2)\n",
    "def f(x): return float(x)\n",
    "RATE = 0.1\n",
]
LEANING = [
    "from apps.invoicing.models import Invoice\n",
    "from apps.core.ids import new_id\n",
    "import apps.invoicing.operations\n",
]
PLANTED = (
    [("status only by move", "apps/payments/planted.py", text) for text in STATUS]
    + [("an app writes only its own tables", "apps/payments/planted.py", t) for t in FOREIGN]
    + [("no float, no round in pure code", "apps/rating/planted.py", text) for text in INEXACT]
    + [("no float, no round in pure code", "apps/wallets/domain.py", text) for text in INEXACT]
    + [("migrations stand alone", "apps/core/migrations/9999_x.py", text) for text in LEANING]
)


@pytest.mark.parametrize(("rule", "where", "text"), PLANTED)
@pytest.mark.holds("M1")
def test_house_rules(copy: Copy, rule: str, where: str, text: str) -> None:
    before = RULES[rule](copy.root)
    copy.plant(where, text)
    added = [line for line in RULES[rule](copy.root) if line not in before]
    assert [line.split(":")[0] for line in added] == [where]


def test_house_rules_are_part_of_the_gate(copy: Copy) -> None:
    copy.plant("apps/rating/planted.py", INEXACT[0])
    assert "apps/rating/planted.py:1 calls round()" in copy.check("rules")


def test_format(copy: Copy) -> None:
    copy.plant("apps/core/planted.py", "x = { 'a':1 }\n")
    assert "planted.py" in copy.check("format")


def test_style(copy: Copy) -> None:
    copy.plant(
        "apps/core/planted.py",
        """
from datetime import datetime
from django.db import models
from django.db.models import signals
from django.utils import timezone

def late():
    import decimal
    print(datetime.now(), timezone.now(), models.FloatField(), signals, decimal)
    try:
        pass
    except Exception:
        pass
""",
    )
    said = copy.check("style")
    found = set(re.findall(r"planted\.py:\d+:\d+: ([A-Z]+\d+)", said))
    assert found >= {"ANN201", "BLE001", "PLC0415", "S110", "T201"}
    for banned in ("datetime.datetime.now", "django.utils.timezone.now", "FloatField", "signals"):
        assert re.search(rf"TID251 .*{re.escape(banned)}", said), banned


@pytest.mark.holds("S31", "S34", "S36", "S48")
def test_style_where_it_is_about_what_comes_from_outside(copy: Copy) -> None:
    copy.plant(
        "apps/core/planted.py",
        """
import ssl
import xml.etree.ElementTree
from django.db.models.expressions import RawSQL

def read(text: str, rows: list[str]) -> None:
    eval(text)
    exec(text)
    xml.etree.ElementTree.fromstring(text)
    RawSQL(f"SELECT {text}", ())
    rows.append(f"SELECT * FROM customers WHERE name = '{text}'")
    ssl._create_unverified_context()
""",
    )
    said = copy.check("style")
    found = set(re.findall(r"planted\.py:\d+:\d+: ([A-Z]+\d+)", said))
    assert found >= {"S102", "S307", "S314", "S323", "S608", "S611"}


@pytest.mark.holds("M6")
def test_layers(copy: Copy) -> None:
    copy.plant(
        "apps/core/planted.py", "import apps.invoicing.models\nimport billing_project.urls\n"
    )
    copy.plant("apps/unplaced/__init__.py", "")
    copy.plant("apps/invoicing/domain.py", "\nimport apps.invoicing.models\n")
    copy.plant("apps/rating/planted.py", "import django\n")
    copy.plant("apps/backoffice/planted.py", "import apps.core.tasks\nimport apps.core.clock\n")
    copy.plant("apps/invoicing/models.py", "\nimport rest_framework\n")
    said = copy.check("layers")
    assert sorted(re.findall(r"^(.*) BROKEN$", said, re.MULTILINE)) == [
        "Apps import downwards only",
        "Doors of one app are nobody else's business",
        "Inside an app: doors, operations, queries, models, domain",
        "Nothing imports the project package",
        "Only doors ask what time it is",
        "Only the web layer knows DRF",
        "Rating and domain modules are pure",
    ]
    for planted in (
        "apps.core.planted -> apps.invoicing.models",
        "apps.core.planted -> billing_project.urls",
        "apps.unplaced",
        "apps.invoicing.domain -> apps.invoicing.models",
        "apps.rating.planted -> django",
        "apps.backoffice.planted -> apps.core.tasks",
        "apps.backoffice.planted -> apps.core.clock",
        "apps.invoicing.models -> rest_framework",
    ):
        assert planted in said


@pytest.mark.slow
def test_types(copy: Copy) -> None:
    copy.plant(
        "apps/backoffice/planted.py",
        """
from apps.tenants.models import Tenant

wrong: int = "one"
missing = Tenant.objects.filter(no_such_field=1)


def untyped(x):
    return x
""",
    )
    said = copy.check("types")
    for code in ("assignment", "misc", "no-untyped-def"):
        assert re.search(rf"apps/backoffice/planted\.py:\d+: error: .*\[{code}\]", said), said


def test_templates(copy: Copy) -> None:
    copy.plant("templates/planted.html", '<img src="a.png">\n<div><p>open</div>\n')
    assert "planted.html" in copy.check("templates")


def test_dependencies(copy: Copy) -> None:
    copy.plant("apps/core/planted.py", "import numpy\nimport vine\n")
    said = copy.check("dependencies")
    assert "'numpy' imported but missing from the dependency definitions" in said
    assert "'vine' imported but it is a transitive dependency" in said


@pytest.mark.slow
def test_migrations(copy: Copy) -> None:
    copy.plant(
        "apps/core/models.py",
        "\n\nclass Planted(models.Model):\n    name = models.CharField(max_length=3)\n",
    )
    assert "Create model Planted" in copy.check("migrations")


@pytest.mark.slow
def test_settings(copy: Copy) -> None:
    copy.plant("billing_project/settings.py", "\nDEBUG = True\nSESSION_COOKIE_SECURE = False\n")
    said = copy.check("settings")
    assert "security.W018" in said
    assert "security.W012" in said


@pytest.mark.slow
@pytest.mark.holds("S51")
def test_openapi(copy: Copy) -> None:
    copy.plant("docs/openapi.yaml", "planted: true\n")
    assert "-planted: true" in copy.check("openapi")
