"""The README's promise: the first paid invoice by curl."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from apps.backoffice.books import breaches
from apps.tenants.domain import Mode
from tests.make.tenants import make_key, make_tenant

SCRIPT = Path(settings.BASE_DIR) / "examples" / "first_invoice.sh"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script calls curl")
def test_the_script_ends_with_a_paid_invoice_also_the_second_time(served: str) -> None:
    tenant = make_tenant(mode=Mode.TEST)
    key = make_key(tenant)
    said = [
        subprocess.run(
            [SCRIPT, served, key], capture_output=True, text=True, check=False, timeout=60
        )
        for _ in range(2)
    ]
    assert [(one.returncode, one.stderr) for one in said] == [(0, ""), (0, "")]
    ends = [one.stdout.splitlines()[-2] for one in said]
    assert ends == ["Invoice INV-000001: 32.50 USD, paid", "Invoice INV-000002: 32.50 USD, paid"]
    assert re.search(r"/api/v1/invoices/inv_[0-9a-z]{26}$", said[0].stdout.rstrip())
    assert list(breaches(tenant.id)) == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script calls curl")
def test_the_script_shows_what_was_refused(served: str) -> None:
    said = subprocess.run(
        [SCRIPT, served, "sk_test_wrong"], capture_output=True, text=True, check=False, timeout=60
    )
    assert said.returncode != 0


def test_the_readme_shows_the_script() -> None:
    readme = (Path(settings.BASE_DIR) / "README.md").read_text()
    assert "examples/first_invoice.sh" in readme
