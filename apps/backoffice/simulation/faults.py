"""What can go wrong inside one process: it dies half-way, a statement fails, a call is repeated."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from django.db import OperationalError, connection

from apps.backoffice.simulation.chance import Dice
from apps.payments.domain import DisputeExceedsPaid, PaymentNotDisputable

T = TypeVar("T")
_MOST_STATEMENTS: Final = 60  # a fault comes at one of the first so many statements


class Interruption(BaseException):
    """The process ends here, as if somebody had pulled the plug; nothing may catch it."""


class InjectedFailure(OperationalError):
    """The database refuses a statement, once."""


# the others: news of money that is not ours yet, or is just being paid back, is told again
_EXPLAINED: Final = (InjectedFailure, PaymentNotDisputable, DisputeExceedsPaid)


class Trouble:
    """Does to operations what may happen to them, as often as ``percent`` says."""

    def __init__(self, dice: Dice, percent: int) -> None:
        self.dice, self.percent = dice, percent
        self.interruptions = self.failures = self.repeats = 0

    def survive(self, call: Callable[[], T]) -> T:
        """Do what is safe to repeat: perhaps interrupted before, perhaps once more afterwards.

        Returns what the last call returned.
        """
        if self.dice.often(self.percent):
            self._interrupt(call)
        result = call()
        if self.dice.often(self.percent):
            self.repeats += 1
            result = call()
        return result

    def survive_once(self, call: Callable[[], object], refusal: type[Exception]) -> None:
        """Do what can be done once: a repeat is refused, and by nothing else."""
        done = False

        def try_it() -> None:
            nonlocal done
            try:
                call()
            except refusal:
                if not done:
                    raise
            else:
                if done:
                    raise AssertionError(f"{refusal.__name__} was to be raised")
            done = True

        self.survive(try_it)

    def sweep(self, call: Callable[[], object]) -> None:
        """Do what looks for due work and answers for its own failures."""
        if self.dice.often(self.percent):
            self._interrupt(call)
        if self.dice.often(self.percent):
            with self._failing_at(self.dice.sample(range(1, _MOST_STATEMENTS), 3)):
                call()
        self.survive(call)

    def interrupted(self) -> None:
        """End the process here, now and then; for callbacks between two chunks."""
        if self.dice.often(self.percent):
            self.interruptions += 1
            raise Interruption

    def _interrupt(self, call: Callable[[], object]) -> None:
        turn, last = 0, self.dice.randrange(1, _MOST_STATEMENTS)

        def watch(execute: Callable[..., Any], *told: Any) -> Any:
            nonlocal turn
            turn += 1
            if turn == last:
                self.interruptions += 1
                raise Interruption
            return execute(*told)

        try:
            with connection.execute_wrapper(watch):
                call()
        except Interruption:
            pass

    @contextmanager
    def _failing_at(self, turns: list[int]) -> Iterator[None]:
        turn = 0

        def watch(execute: Callable[..., Any], *told: Any) -> Any:
            nonlocal turn
            turn += 1
            if turn in turns:
                self.failures += 1
                raise InjectedFailure("injected by the simulation")
            return execute(*told)

        try:
            with connection.execute_wrapper(watch):
                yield
        except InjectedFailure:
            pass  # it hit a statement that nobody answers for but the caller


class Complaints(logging.Handler):
    """Keeps what the product logs as an error and no injected fault explains."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record unless the simulation caused it."""
        error = record.exc_info[1] if record.exc_info else None
        while error is not None and not isinstance(error, _EXPLAINED):
            error = error.__cause__ or error.__context__
        if error is None:
            self.found.append(self.format(record))


@contextmanager
def listening() -> Iterator[Complaints]:
    """Keep the product's complaints to ourselves meanwhile."""
    complaints = Complaints()
    logger = logging.getLogger("apps")
    propagates = logger.propagate
    logger.addHandler(complaints)
    logger.propagate = False
    try:
        yield complaints
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagates
