"""A dump restored into a new cluster, as docs/running.md says: nothing is passed over in silence."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from apps.core.clock import now
from launcher.embedded import DATABASE, Places, Servers, places, postgres_programs
from launcher.system import ROOT
from launcher.throwaway import Throwaway
from tests.faults.forker import Database, Forker
from tests.servers import TestServers

_NUMBERS: Final = 50_000  # more than restoring takes
_USE_UP: Final = f"""
DO $$ BEGIN FOR number IN 1..{_NUMBERS} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
"""

SERVED: Final = {"ready": 200, "cluster": "ok", "doctor": "ok", "broken": []}
REFUSED: Final = {
    "ready": 503,
    "cluster": "not adopted",
    "doctor": "missing",
    "broken": [
        "invoicing.nothing_to_come_was_billed",
        "metering.nothing_to_come_is_read",
        "wallets.nothing_to_come_has_burned",
    ],
}


def manage(where: Places, *arguments: str) -> str:
    """Run a command of manage.py on the database there; return what it says."""
    urls = {"DATABASE_URL": where.database_url, "DATABASE_OWNER_URL": where.owner_url}
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env={**os.environ, **urls},
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


@contextmanager
def new_cluster(*, migrated: bool) -> Iterator[Places]:
    """A cluster of its own with the two roles, and an empty database or a migrated one."""
    throwaway = Throwaway()
    where = places(throwaway.folder)

    def migrate() -> None:
        manage(where, "migrate", "--no-input")

    try:
        if migrated:
            throwaway.prepare(migrate)
        with Servers(throwaway.folder, valkey=False, volatile=True):
            yield where
    finally:
        throwaway.remove()


def database_of(where: Places) -> Database:
    return Database(DATABASE, str(where.sockets))


def dump(where: Places, into: Path) -> None:
    programs, _ = postgres_programs()
    command = [str(programs / "pg_dump"), "--format=custom", f"--file={into}", where.owner_url]
    subprocess.run(command, check=True)


def restore(where: Places, file: Path) -> None:
    programs, _ = postgres_programs()
    command = [str(programs / "pg_restore"), "--exit-on-error", f"--dbname={where.owner_url}"]
    subprocess.run([*command, str(file)], check=True)


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.holds("U10")
def test_a_dump_in_a_new_cluster(servers: TestServers, forker: Forker, tmp_path: Path) -> None:
    """It refuses until it is adopted; then all usage of both clusters is read and billed once."""
    file = tmp_path / "billing.dump"

    def call(function: str, where: Places, **arguments: Any) -> Any:
        return forker.call(f"tests.faults.{function}", database_of(where), **arguments)

    def send(where: Places, name: str, count: int) -> None:
        call("acts:send_events", where, **sent, name=name, count=count)

    with new_cluster(migrated=True) as old:
        with psycopg.connect(old.superuser_url, autocommit=True) as connection:
            connection.execute(_USE_UP.encode())
        company = call("acts:found_company", old, slug="restored", uses=True)
        used_at = (now() - timedelta(days=15)).isoformat()
        sent = {"key": company["key"], "customer": company["customers"]["c-0"], "since": used_at}
        whose = {"tenant": company["tenant"]}
        call("restoring:give_credit", old, **whose)
        send(old, "read", 3)
        assert call("restoring:read_usage", old) == []
        assert call("acts:close", old) == 1
        send(old, "left", 2)  # when the dump is made nobody has read these
        came = {"events": 5, "rolled up": 3, "burned": "0.03", "billed": "0.03"}
        assert call("restoring:seen", old, **whose) == {**SERVED, **came}
        dump(old, file)

    with new_cluster(migrated=False) as new:
        restore(new, file)
        assert call("restoring:seen", new, **whose) == {**REFUSED, **came}
        assert call("restoring:read_usage", new) == ["roll_up", "burn"]
        send(new, "refused", 1)
        assert call("restoring:seen", new, **whose) == {**REFUSED, **came}

        assert manage(new, "adopt_cluster").startswith("Adopted: ")
        assert call("restoring:seen", new, **whose) == {**SERVED, **came}
        send(new, "after", 4)
        send(new, "read", 3)  # known by their keys
        assert call("restoring:read_usage", new) == []
        call("acts:close", new)
        after = {"events": 9, "rolled up": 9, "burned": "0.09", "billed": "0.09"}
        assert call("restoring:seen", new, **whose) == {**SERVED, **after}
        assert manage(new, "adopt_cluster").startswith("Nothing to do")
