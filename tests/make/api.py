"""A caller of the API: Django's test client with a key, JSON and idempotency keys."""

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from django.test import Client

ROOT: Final = "/api/v1"


class Api:
    """Calls ``/api/v1`` with an API key or an operator's token.

    Paths begin after ``/api/v1``. A POST carries a new Idempotency-Key unless one is given;
    ``key=None`` sends none. Answers are Django's: ``.status_code``, ``.json()``, ``.headers``.
    What a view raises and does not answer is raised here.
    """

    def __init__(self, credential: str = "", **headers: str) -> None:
        """Remember what every request carries; ``headers`` are named as in ``X_Tenant="acme"``."""
        self.client = Client()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if credential:
            self.headers["Authorization"] = f"Bearer {credential}"

    def get(self, path: str, **parameters: Any) -> Any:
        """Read."""
        return self.client.get(ROOT + path, parameters, headers=self.headers)

    def post(self, path: str, body: Any = None, *, key: str | None = "") -> Any:
        """Create or do; ``key`` "" makes a new Idempotency-Key, None sends none."""
        return self.send("POST", path, body, key=uuid4().hex if key == "" else key)

    def patch(self, path: str, body: Any, *, key: str | None = None) -> Any:
        """Change."""
        return self.send("PATCH", path, body, key=key)

    def put(self, path: str, body: Any, *, key: str | None = None) -> Any:
        """Replace."""
        return self.send("PUT", path, body, key=key)

    def delete(self, path: str, *, key: str | None = None) -> Any:
        """Remove."""
        return self.send("DELETE", path, None, key=key)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send any request; bytes and strings go out as they are, anything else as JSON."""
        given = {**self.headers, **(headers or {})}
        if key is not None:
            given["Idempotency-Key"] = key
        match body:
            case None:
                text: bytes | str = b""
            case bytes() | str():
                text = body
            case _:
                text = json.dumps(body)
        return self.client.generic(
            method, ROOT + path, text, content_type=content_type, headers=given
        )
