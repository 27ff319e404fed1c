"""CPU time is that of this process and of the server's, where the server is on this machine."""

from pathlib import Path
from time import process_time

import pytest
from django.db import connection

from apps.backoffice.bench import cpu
from apps.backoffice.bench.cpu import spent, spent_by_all

pytestmark = pytest.mark.django_db

LONG = "SELECT count(*) FROM generate_series(1, 2000000) AS n WHERE n % 7 = 3"


def ask() -> None:
    with connection.cursor() as cursor:
        cursor.execute(LONG)


def test_what_the_server_does_counts() -> None:
    began = process_time()
    one, everything = spent(ask, "default"), spent_by_all(ask)
    own = process_time() - began
    if one is None or everything is None:
        pytest.skip("the database server is not on this machine")
    assert one + everything > 2 * own


def test_nothing_is_told_of_a_server_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = tmp_path / str(connection.connection.info.backend_pid)
    pid.mkdir()
    (pid / "comm").write_text("somebody-else\n")
    monkeypatch.setattr(cpu, "_PROCESSES", tmp_path)
    done = []
    assert spent(lambda: done.append(1), "default") is None
    assert spent_by_all(lambda: done.append(2)) is None
    assert done == [1, 2]
