"""A caller of the API with nothing but Python's standard library."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

JSON = Any  # what an answer holds


class Refused(Exception):
    """The API answered with a problem: ``status`` and its body."""

    def __init__(self, status: int, problem: JSON) -> None:
        super().__init__(f"{status}: {problem}")
        self.status, self.problem = status, problem


class Client:
    """Calls ``<url>/api/v1`` with an API key; every write carries a new Idempotency-Key.

    Operators have a token instead, and name their tenant by ``headers``.
    """

    def __init__(self, url: str, key: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self.root = f"{url.rstrip('/')}/api/v1"
        self.key = key
        self.headers = dict(headers or {})

    def get(self, path: str) -> JSON:
        """Read."""
        return self.send("GET", path)

    def post(self, path: str, body: JSON = None) -> JSON:
        """Create or do."""
        return self.send("POST", path, body if body is not None else {})

    def patch(self, path: str, body: JSON) -> JSON:
        """Change."""
        return self.send("PATCH", path, body)

    def send(self, method: str, path: str, body: JSON = None) -> JSON:
        """Send one request and return the answer's JSON; raise ``Refused`` for a problem."""
        request = urllib.request.Request(  # noqa: S310 -- the address is the caller's own
            self.root + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.key}",
                "Content-Type": "application/json",
                "Idempotency-Key": uuid4().hex,
                **self.headers,
            },
        )
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 -- as above
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise Refused(error.code, json.loads(error.read() or b"null")) from error

    def advance(self, clock: str, to: str) -> JSON:
        """Let time pass on a test clock, with everything that comes due on the way."""
        path = f"/test-clocks/{clock}/advance"
        going = self.post(path, {"to": to})
        if going["status"] == "running":
            going = self.until(path, lambda found: found["status"] != "running", seconds=600)
        if going["status"] != "done":
            raise Refused(500, going)
        return going

    def until(self, path: str, done: Callable[[JSON], bool], *, seconds: float = 30) -> JSON:
        """Read again and again until ``done`` says so; return what was read last."""
        end = time.monotonic() + seconds
        while not done(found := self.get(path)):
            if time.monotonic() > end:
                raise TimeoutError(f"{path} is still {found}")
            time.sleep(0.2)
        return found
