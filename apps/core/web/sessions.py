"""Sessions of the desk: they end half an hour after the last request, and twelve hours after login."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session

from apps.core.clock import now

IDLE: Final = timedelta(minutes=30)  # SESSION_COOKIE_AGE in the settings
LONGEST: Final = timedelta(hours=12)
_TOUCHED: Final = timedelta(minutes=1)  # how exactly the last request is remembered
_BEGAN: Final = "began"


class SessionStore(db.SessionStore):
    """Rows of django_session that know when somebody logged in."""

    ends_at: datetime | None = None  # as the table has it

    @classmethod
    def get_model_class(cls) -> Any:
        return Session

    def load(self) -> dict[str, Any]:
        """Return what is stored; nothing, for a session that is idle or old."""
        row = self._get_session_from_db()  # type: ignore[attr-defined]  # the stubs lack it
        if row is None:
            return {}
        stored: dict[str, Any] = self.decode(row.session_data)
        began = stored.get(_BEGAN)
        if began is None or datetime.fromisoformat(began) + LONGEST <= now():
            self._session_key = None
            return {}
        self.ends_at = row.expire_date
        return stored

    def cycle_key(self) -> None:
        """Begin a session for who has just logged in, with another key."""
        self[_BEGAN] = now().isoformat()
        super().cycle_key()

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 -- Django's signature
        self.setdefault(_BEGAN, now().isoformat())
        super().save(must_create=must_create)

    @property
    def is_stale(self) -> bool:
        """Say whether the end in the table is older than the last request makes it."""
        return self.ends_at is not None and self.ends_at < now() + IDLE - _TOUCHED
