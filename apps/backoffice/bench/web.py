"""The web server as it is deployed, and callers that keep it busy."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from time import monotonic, perf_counter, sleep
from typing import Final

from django.conf import settings

_HOST: Final = "127.0.0.1"
_SECONDS_TO_ANSWER: Final = 60.0
_SECONDS_TO_END: Final = 20.0
_BUFFER: Final = 65_536
_SERVER: Final = (
    *("gunicorn", "billing_project.wsgi", "--no-control-socket", "--log-level", "warning"),
    *("--worker-class", "gthread", "--workers", "2", "--threads", "4"),
)


class UnexpectedAnswer(Exception):
    """The web server did not do what it was asked, so how fast it answered says nothing."""


@contextmanager
def web_server() -> Iterator[int]:
    """Run the web server on the database in use; its port inside ``with``."""
    port = _free_port()
    environment = os.environ | {
        "ALLOWED_HOSTS": _HOST,
        "CONN_MAX_AGE": "3600",  # a connection that ends takes the account of its CPU time with it
        "RATE_LIMIT_PER_SECOND": "0",  # what it can do is asked, not what one caller may
        "PUBLIC_URL": f"http://{_HOST}:{port}",
        "PYTHONWARNINGS": "ignore",  # of the folder of static files, which the bench needs not
    }
    server = subprocess.Popen(  # noqa: S603 -- our own server
        [sys.executable, "-m", *_SERVER, "--bind", f"{_HOST}:{port}"],
        env=environment,
        cwd=settings.BASE_DIR,
        start_new_session=True,  # Ctrl-C is for the bench, which then ends its server
    )
    try:
        _wait_for_answer(server, port)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def get(path: str, secret: str = "") -> bytes:
    """Return a GET request."""
    return _request("GET", path, secret, b"")


def post(path: str, body: bytes, secret: str) -> bytes:
    """Return a POST request with a JSON body."""
    return _request("POST", path, secret, body)


def seconds_to_serve(port: int, requests: Sequence[bytes], *, callers: int) -> float:
    """Send the requests, so many callers at a time; return the seconds until all are answered.

    Raises ``UnexpectedAnswer`` for any answer but 2xx.
    """
    with ThreadPoolExecutor(callers) as pool:
        shares = [requests[one::callers] for one in range(callers)]
        began = perf_counter()
        for times in pool.map(lambda share: latencies(port, share), shares):
            del times
        return perf_counter() - began


def latencies(port: int, requests: Sequence[bytes]) -> list[float]:
    """Send the requests one after another on one connection; return the seconds each took."""
    found = []
    caller = _Caller(port)
    try:
        for request in requests:
            began = perf_counter()
            caller.ask(request)
            found.append(perf_counter() - began)
    finally:
        caller.close()
    return found


class _Caller:
    """A connection that is kept; it reads no more of an answer than it must."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = self._connect()

    def ask(self, request: bytes) -> None:
        """Send a request and wait for the whole answer."""
        self._connection.sendall(request)
        answer = self._read(b"")
        end = answer.find(b"\r\n\r\n")
        while end < 0:
            answer = self._read(answer)
            end = answer.find(b"\r\n\r\n")
        head = answer[:end].lower()
        if not head.startswith(b"http/1.1 2"):
            raise UnexpectedAnswer(answer[:1_000].decode(errors="replace"))
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(answer) < end + 4 + length:
            answer = self._read(answer)
        if b"connection: close" in head:
            self.close()
            self._connection = self._connect()

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()

    def _connect(self) -> socket.socket:
        made = socket.create_connection((_HOST, self._port), timeout=60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _read(self, before: bytes) -> bytes:
        more = self._connection.recv(_BUFFER)
        if not more:
            raise UnexpectedAnswer("The web server closed the connection.")
        return before + more


def _request(method: str, path: str, secret: str, body: bytes) -> bytes:
    head = [f"{method} {path} HTTP/1.1", f"Host: {_HOST}"]
    if secret:
        head.append(f"Authorization: Bearer {secret}")
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_answer(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = monotonic() + _SECONDS_TO_ANSWER
    while server.poll() is None and monotonic() < deadline:
        with suppress(OSError):
            latencies(port, [get("/health/live")])
            return
        sleep(0.1)
    raise UnexpectedAnswer("The web server did not start.")
