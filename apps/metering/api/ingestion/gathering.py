"""Single events that arrive at the same time, stored together: one statement, one commit.

Waiting for the disk is most of what storing one event costs. While one request waits for it, others
queue up, and the first of these then stores all of them.
"""

from collections import deque
from datetime import datetime
from threading import Lock

from apps.metering.domain import Receipt, Sender
from apps.metering.operations import ingest_batch


class _Waiting:
    """An event that waits to be stored; without a receipt, somebody tried and could not."""

    __slots__ = ("at", "is_taken", "item", "receipt")

    def __init__(self, item: object, at: datetime) -> None:
        self.item, self.at = item, at
        self.is_taken = False
        self.receipt: Receipt | None = None


class Gathering:
    """Where the requests of one sender meet that store one event each."""

    def __init__(self) -> None:
        """Begin with nobody there."""
        self._lock = Lock()
        self._waiting: deque[_Waiting] = deque()

    def ingest(self, sender: Sender, item: object, *, at: datetime) -> Receipt:
        """Do what ``ingest_batch`` does for a single item, with those that wait at the same time.

        It returns when the event is committed. What goes wrong with others is none of its affair:
        then it is stored by itself.
        """
        mine = _Waiting(item, at)
        self._waiting.append(mine)
        with self._lock:
            if not mine.is_taken:
                self._store_waiting(sender)
        if mine.receipt is None:
            (mine.receipt,) = ingest_batch(sender, [item], at=at)
        return mine.receipt

    def _store_waiting(self, sender: Sender) -> None:
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        for one in taken:
            one.is_taken = True
        at = max(one.at for one in taken)
        try:
            receipts = ingest_batch(sender, [one.item for one in taken], at=at)
        except Exception:
            if len(taken) == 1:
                raise
            return
        for one, receipt in zip(taken, receipts, strict=True):
            one.receipt = receipt
