"""F11–F24: PostgreSQL dies, refuses, waits, or is changed under the program."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from apps.core.clock import now
from launcher.embedded import places
from launcher.system import is_root
from tests.faults.cluster import Cluster, until
from tests.faults.company import Company
from tests.faults.forker import Database, Forker
from tests.faults.proxy import Proxy

Found = Callable[..., Company]
pytestmark = [pytest.mark.slow, pytest.mark.whole]


class Sender:
    """Sends batches of events until told to stop, each until it is acknowledged."""

    def __init__(self, company: Company, name: str) -> None:
        """Begin."""
        self._company, self._name = company, name
        self._stop = threading.Event()
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def wait_for_more(self) -> None:
        """Wait until something more is acknowledged than now."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) > before, what="more events are stored")

    def stop(self) -> None:
        """Wait until what is on its way is acknowledged."""
        self._stop.set()
        self._thread.join(300)
        assert not self._thread.is_alive()

    def _send(self) -> None:
        number = 0
        while not self._stop.is_set():
            keys = [f"{self._name}-{number}-{n}" for n in range(20)]
            at = now().isoformat()
            body = {"events": [self._event(key, at) for key in keys]}
            until(partial(self._is_acknowledged, body), what="an event is stored")
            self.acknowledged += keys
            number += 1

    def _is_acknowledged(self, body: dict[str, Any]) -> bool:
        answer = self._company.post("/events/batch", body)
        if answer.status_code != 202:
            self.refused.append(answer.status_code)
            return False
        found = answer.json()
        assert found["accepted"] + found["duplicate"] == 20
        return True

    @staticmethod
    def _event(key: str, at: str) -> dict[str, Any]:
        named = {"event_name": "calls", "customer": "c-0", "timestamp": at}
        return {"idempotency_key": key, "value": 1, **named}


@contextmanager
def sending(company: Company) -> Iterator[list[Sender]]:
    """Send from two sides; afterwards each acknowledged event is stored exactly once."""
    senders = [Sender(company, name) for name in ("left", "right")]
    try:
        yield senders
    finally:
        for sender in senders:
            sender.stop()
    stored = company.cluster.sql(
        "SELECT key FROM metering_usageevent WHERE tenant_id = %s ORDER BY key", company.id
    )
    assert [key for (key,) in stored] == sorted(k for s in senders for k in s.acknowledged)


@pytest.mark.holds("F11")
def test_f11_postgresql_killed_three_times_under_load(cluster: Cluster, found: Found) -> None:
    """Nothing acknowledged is lost, nothing is stored twice, and everybody connects again."""
    company = found(customers=2)
    with sending(company) as senders:
        for _ in range(3):
            senders[0].wait_for_more()
            cluster.kill("postgres")
            cluster.start("postgres")
    assert company.bill() == company.paid_once()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """A line to PostgreSQL that loses answers when it is told to."""
    folder = cluster.sockets / "lossy"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    made = Proxy(folder / ".s.PGSQL.5432", cluster.sockets / ".s.PGSQL.5432")
    yield made
    made.close()


@pytest.fixture
def lossy(cluster: Cluster, proxy: Proxy) -> Database:
    """The installation's database over that line."""
    return Database(cluster.database.name, str(cluster.sockets / "lossy"))


@pytest.mark.holds("F12")
@pytest.mark.parametrize("words", ['INSERT INTO "core_idempotencyrecord', "COMMIT"])
def test_f12_the_answer_to_a_commit_is_lost(
    found: Found, forker: Forker, proxy: Proxy, lossy: Database, words: str
) -> None:
    """The caller hears that it is to try again; with the same key that makes nothing twice."""
    company = found(owes=False)
    body = {"external_id": "new", "name": "New", "currency": "USD"}
    order = {"key": company.key, "path": "/customers", "body": body, "once": "once"}
    proxy.lose_the_reply_to(words.encode())
    status, answer, headers = forker.call("tests.faults.acts:post", lossy, **order)
    assert (status, headers["Retry-After"]) == (503, "1"), answer
    assert proxy.lost == 1
    company.cluster.pass_time()
    status, answer, _ = forker.call("tests.faults.acts:post", lossy, **order)
    assert (status, answer["external_id"]) == (201, "new")
    assert company.count("customers_customer") == 2


@pytest.mark.holds("F12")
def test_f12_the_answer_to_the_storing_of_an_event_is_lost(
    found: Found, forker: Forker, proxy: Proxy, lossy: Database
) -> None:
    """The statement is sent again and finds the event: it is stored once, and acknowledged."""
    company = found(owes=False)
    event = {
        "idempotency_key": "lost-on-the-way",
        "event_name": "calls",
        "customer": "c-0",
        "timestamp": now().isoformat(),
        "value": 1,
    }
    proxy.lose_the_reply_to(b"lost-on-the-way")
    status, answer, _ = forker.call(
        "tests.faults.acts:post", lossy, key=company.key, path="/events", body=event, once="once"
    )
    assert (status, answer["status"]) == (200, "duplicate")
    assert proxy.lost == 1
    assert company.count("metering_usageevent") == 1


@pytest.mark.holds("F13")
def test_f13_postgresql_is_away_for_a_while(cluster: Cluster, found: Found) -> None:
    """Callers are told to come back, nothing hangs, and the work goes on afterwards."""
    company = found(customers=2)
    pid = cluster.server_pid("postgres")
    os.kill(pid, signal.SIGQUIT)  # as pg_ctl stop -m immediate
    cluster.stop("postgres")
    answer = company.post("/customers", {"name": "New", "currency": "USD"}, "once")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert cluster.health().status_code == 503
    cluster.start("postgres")
    until(lambda: cluster.health().status_code == 200)
    assert company.insist("/customers", {"name": "New", "currency": "USD"}, "once").ok
    assert company.bill() == company.paid_once()
    idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
    until(lambda: cluster.one(idle) == 0)


def external_payment(company: Company, answers: list[requests.Response]) -> threading.Thread:
    """Record money for the company's invoice, in a thread, and keep the answer."""
    (invoice,) = company.get("/invoices").json()["data"]
    money = {"amount": "9.00", "currency": "USD", "reference": "bank"}

    def pay() -> None:
        answers.append(company.post(f"/invoices/{invoice['id']}/pay", money, "once"))

    thread = threading.Thread(target=pay)
    thread.start()
    return thread


def owing(found: Found, cluster: Cluster) -> Company:
    """A company whose one invoice waits to be paid by bank."""
    company = found(method=None)
    until(lambda: company.count("invoicing_invoice", "status = 'issued'") == 1)
    until(lambda: not company.count("core_job", "state <> 'done'"))
    return company


@pytest.mark.holds("F14")
def test_f14_a_deadlock(cluster: Cluster, found: Found) -> None:
    """Whoever is chosen to give way is told to try again, never that we are broken."""
    company = owing(found, cluster)
    answers: list[requests.Response] = []
    with cluster.connect() as other, other.transaction():
        other.execute("SET LOCAL deadlock_timeout = '1min'")  # it is not the one to give way
        other.execute("SELECT FROM invoicing_invoice WHERE tenant_id = %s FOR UPDATE", [company.id])
        thread = external_payment(company, answers)
        until(cluster.waits_for_a_lock)
        other.execute(
            "SELECT FROM customers_customer WHERE tenant_id = %s FOR UPDATE", [company.id]
        )
    thread.join(60)
    (answer,) = answers
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    external_payment(company, answers).join(60)
    assert answers[1].ok
    assert company.count("payments_payment") == 1


@pytest.mark.holds("F15")
def test_f15_a_transaction_that_cannot_be_serialized(cluster: Cluster, found: Found) -> None:
    """The whole of it is done again: by the client with its key, by the queue with its job."""
    cluster.sql("CREATE SEQUENCE probe_hits")
    cluster.sql("GRANT USAGE ON SEQUENCE probe_hits TO PUBLIC")
    cluster.sql(
        "CREATE FUNCTION probe() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('probe_hits') %% 2 = 1 THEN RAISE 'try again' USING ERRCODE = '40001';"
        " END IF; RETURN NEW; END $$"
    )
    cluster.sql("GRANT EXECUTE ON FUNCTION probe() TO PUBLIC")
    company = found(owes=False)
    try:
        cluster.sql(
            "CREATE TRIGGER probe BEFORE INSERT ON customers_customer"
            " FOR EACH ROW EXECUTE FUNCTION probe()"
        )
        body = {"external_id": "new", "name": "New", "currency": "USD"}
        answer = company.post("/customers", body, "once")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert company.count("customers_customer") == 1
        assert company.insist("/customers", body, "once").status_code == 201
        assert company.count("customers_customer") == 2

        cluster.sql("DROP TRIGGER probe ON customers_customer")
        cluster.sql(
            "CREATE TRIGGER probe BEFORE INSERT ON payments_payment"
            " FOR EACH ROW EXECUTE FUNCTION probe()"
        )
        other = found()
        assert other.bill() == other.paid_once()
        tried = "name = 'payments.collect_invoice' AND attempts > 1"
        assert other.count("core_job", tried) == 1
    finally:
        cluster.sql("DROP FUNCTION probe CASCADE")
        cluster.sql("DROP SEQUENCE probe_hits")


@pytest.mark.holds("F16")
def test_f16_somebody_holds_a_row_for_long(cluster: Cluster, found: Found) -> None:
    """Callers are told to come back after seconds; jobs come back by themselves."""
    company = owing(found, cluster)
    answers: list[requests.Response] = []
    with cluster.connect() as other, other.transaction():
        other.execute(
            "SELECT FROM customers_customer WHERE tenant_id = %s FOR UPDATE", [company.id]
        )
        external_payment(company, answers).join(60)
    (answer,) = answers
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    external_payment(company, answers).join(60)
    assert answers[1].ok
    assert company.count("payments_payment") == 1


@pytest.mark.holds("F17")
def test_f17_no_connection_is_left(cluster: Cluster, found: Found) -> None:
    """Whoever gets none is told at once to come back; nothing waits for one, nothing is half done."""
    company = found(owes=False)
    other = found()
    body = {"external_id": "new", "name": "New", "currency": "USD"}
    cluster.sql("ALTER ROLE billing CONNECTION LIMIT 0")
    try:
        cluster.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'billing'"
        )
        answer = company.post("/customers", body, "once")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert cluster.health().status_code == 503
        assert company.count("customers_customer") == 1
    finally:
        cluster.sql("ALTER ROLE billing CONNECTION LIMIT -1")
    assert company.insist("/customers", body, "once").status_code == 201
    assert company.count("customers_customer") == 2
    assert other.bill() == other.paid_once()


@contextmanager
def small_disk(folder: Path, megabytes: int = 8) -> Iterator[Path]:
    """A disk of a few megabytes, of which nothing is left but what is freed."""
    size = f"size={megabytes}m"
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no space on the disk; return what takes it up."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"0" * 4096)
    return ballast


@pytest.mark.holds("F18")
@pytest.mark.skipif(not is_root(), reason="only root may mount a small disk")
def test_f18_the_disk_is_full(cluster: Cluster, found: Found) -> None:
    """Writes are refused and to be tried again; reads are answered; nothing is half done."""
    company = found(owes=False)
    folder = cluster.data / "small"
    folder.mkdir()
    with small_disk(folder):
        place = folder / "space"
        place.mkdir(mode=0o700)
        owner = cluster.server_owner()
        os.chown(folder, *owner)
        os.chown(place, *owner)
        cluster.sql(f"CREATE TABLESPACE small LOCATION '{place}'")
        cluster.sql("ALTER TABLE customers_customer SET TABLESPACE small")
        try:
            ballast = fill(folder)
            body = {"name": "New", "currency": "USD", "metadata": {"note": "x" * 450}}
            made = 0
            while (refused := company.post("/customers", body, f"customer-{made}")).ok:
                made += 1
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert company.get("/customers").status_code == 200
            assert company.count("customers_customer") == 1 + made
            ballast.unlink()
            assert company.insist("/customers", body, f"customer-{made}").status_code == 201
            assert company.count("customers_customer") == 2 + made
        finally:
            (folder / "ballast").unlink(missing_ok=True)
            cluster.sql("ALTER TABLE customers_customer SET TABLESPACE pg_default")
            cluster.sql("DROP TABLESPACE small")
    folder.rmdir()


def move_log(here: Path, there: Path, owner: tuple[int, int]) -> None:
    """Move the server's write-ahead log, while it does not run, to a folder that is not there yet."""
    shutil.copytree(here, there)
    for path in (there, *there.rglob("*")):
        os.chown(path, *owner)
    there.chmod(0o700)
    shutil.rmtree(here)


@pytest.mark.holds("F19")
@pytest.mark.skipif(not is_root(), reason="only root may mount a small disk")
def test_f19_the_log_disk_is_full(cluster: Cluster, found: Found) -> None:
    """The server gives up; once there is space it starts again, with all that was acknowledged."""
    company = found(owes=False)
    owner = cluster.server_owner()
    (server,) = places(cluster.data).clusters.glob("pg*/postmaster.pid")
    log, folder = server.parent / "pg_wal", cluster.data / "small-log"
    cluster.stop("postgres")
    folder.mkdir()
    os.chown(folder, *owner)
    used = sum(path.stat().st_size for path in log.rglob("*") if path.is_file())
    with small_disk(folder, used // 2**20 + 8) as disk:
        move_log(log, disk / "log", owner)
        log.symlink_to(disk / "log")
        try:
            cluster.start("postgres")
            ballast = fill(disk)
            body = {"name": "New", "currency": "USD"}
            made = 0
            while (refused := company.post("/customers", body, f"customer-{made}")).ok:
                made += 1
                with suppress(psycopg.Error):
                    cluster.sql("SELECT pg_switch_wal()")  # or it takes thousands of customers
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            ballast.unlink()
            cluster.stop("postgres")
            cluster.start("postgres")
            assert company.insist("/customers", body, f"customer-{made}").status_code == 201
            assert company.count("customers_customer") == 2 + made
        finally:
            (disk / "ballast").unlink(missing_ok=True)
            cluster.stop("postgres")
            log.unlink()
            move_log(disk / "log", log, owner)
    folder.rmdir()


@pytest.mark.holds("F23")
def test_f23_a_migration_under_load(cluster: Cluster, found: Found, forker: Forker) -> None:
    """It gives up what it cannot lock within seconds, stops nobody for longer, and is repeated."""
    company = found(owes=False)
    with sending(company) as senders:
        with cluster.connect() as other, other.transaction():
            other.execute("SELECT count(*) FROM customers_customer")
            against = forker.call("tests.faults.acts:change_a_table", cluster.database)
            assert against == "LockNotAvailable"
        senders[0].wait_for_more()

        def is_changed() -> bool:
            return not forker.call("tests.faults.acts:change_a_table", cluster.database)

        until(is_changed, what="the table is changed")
        cluster.migrate()
        senders[0].wait_for_more()
    assert {status for sender in senders for status in sender.refused} <= {503}


def add_a_column_and_an_index(cluster: Cluster) -> None:
    with cluster.connect() as owner, owner.transaction():
        owner.execute("ALTER TABLE probe ADD COLUMN more int")
        owner.execute("CREATE UNIQUE INDEX probe_once ON probe (t)")


@pytest.mark.holds("F24")
def test_f24_a_unique_index_over_duplicates(cluster: Cluster) -> None:
    """The migration stops and says which; no row is lost, and nothing of it is left."""
    rows = [(1, "a"), (2, "a"), (3, "b")]
    cluster.sql("CREATE TABLE probe (n int, t text)")
    try:
        for row in rows:
            cluster.sql("INSERT INTO probe VALUES (%s, %s)", *row)
        with pytest.raises(psycopg.errors.UniqueViolation, match="is duplicated"):
            add_a_column_and_an_index(cluster)
        assert cluster.sql("SELECT * FROM probe ORDER BY n") == rows
        assert cluster.one("SELECT to_regclass('probe_once')") is None
    finally:
        cluster.sql("DROP TABLE probe")
