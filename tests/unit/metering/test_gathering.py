"""Single events that arrive while others are being stored are stored together."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from uuid import UUID

import pytest

from apps.metering.api.ingestion import gathering
from apps.metering.api.ingestion.gathering import Gathering
from apps.metering.domain import Receipt, ReceiptStatus, Sender

SENDER = Sender(UUID(int=1), timedelta(days=30), timedelta(hours=1), has_clocks=False)
AT = datetime(2026, 5, 1, tzinfo=UTC)
SECONDS = 30


class Storing:
    """In the place of ``ingest_batch``: the first call goes on once it is let."""

    def __init__(self) -> None:
        self.began, self.go_on = Event(), Event()
        self.batches: list[tuple[object, ...]] = []

    def __call__(
        self, sender: Sender, items: Sequence[object], *, at: datetime
    ) -> Iterable[Receipt]:
        self.batches.append(tuple(items))
        if len(self.batches) == 1:
            self.began.set()
            assert self.go_on.wait(SECONDS)
        if "bad" in items:
            raise ValueError(f"{len(items)} items, {(at - AT).seconds} s")
        return [
            Receipt(place, ReceiptStatus.ACCEPTED, str(item)) for place, item in enumerate(items)
        ]


@pytest.fixture
def storing(monkeypatch: pytest.MonkeyPatch) -> Storing:
    made = Storing()
    monkeypatch.setattr(gathering, "ingest_batch", made)
    return made


def send_while_storing(storing: Storing, items: Sequence[str]) -> list[Future[Receipt]]:
    """Send the first, and while it is being stored all the others; return what becomes of each."""
    where = Gathering()
    send: Callable[[str, datetime], Receipt] = lambda item, at: where.ingest(SENDER, item, at=at)  # noqa: E731
    with ThreadPoolExecutor(len(items)) as pool:
        sent = [pool.submit(send, items[0], AT)]
        assert storing.began.wait(SECONDS)
        sent += [
            pool.submit(send, item, AT + timedelta(seconds=number))
            for number, item in enumerate(items[1:], 1)
        ]
        while len(where._waiting) < len(items) - 1:  # noqa: SLF001 -- whether all have come
            assert not sent[0].done()
        storing.go_on.set()
    return sent


def test_what_waits_is_stored_at_once(storing: Storing) -> None:
    sent = send_while_storing(storing, ["a", "b", "c", "d"])
    assert [one.result().idempotency_key for one in sent] == ["a", "b", "c", "d"]
    assert storing.batches[0] == ("a",)
    assert [set(batch) for batch in storing.batches[1:]] == [{"b", "c", "d"}]


def test_what_goes_wrong_with_one_is_no_affair_of_the_others(storing: Storing) -> None:
    sent = send_while_storing(storing, ["a", "b", "bad", "d"])
    assert [sent[place].result().idempotency_key for place in (0, 1, 3)] == ["a", "b", "d"]
    with pytest.raises(ValueError, match=r"^1 items, 2 s$"):
        sent[2].result()
    assert sorted(map(len, storing.batches)) == [1, 1, 1, 1, 3]


def test_one_alone_gets_its_own_error(storing: Storing) -> None:
    storing.go_on.set()
    with pytest.raises(ValueError, match=r"^1 items, 0 s$"):
        Gathering().ingest(SENDER, "bad", at=AT)
    assert storing.batches == [("bad",)]
