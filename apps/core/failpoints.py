"""Named points at which the fault harness lets a process die, fail or wait.

Nothing happens at them unless the environment variable FAILPOINTS names a folder, which production
refuses (see ``arm``). The file ``armed`` in that folder is read at every point that is reached: it
holds lines of the form ``name:hit:action``, where ``hit`` is 1 for the first time that any process
reaches the point, or ``*`` for every time, and ``action`` is

``kill``   the process dies at once, as by kill -9;
``raise``  ``FailpointReached`` is raised;
``wait``   the process waits there until its line is taken out of the file.

The folder ``hits`` counts: a file for each point, a byte for each time it was reached.
"""

import fcntl
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

POINTS: Final = frozenset(
    {
        "core.audit.after_seals",
        "core.audit.before_commit",
        "core.events.after_append",
        "core.idempotency.after_answer",
        "core.idempotency.after_claim",
        "core.idempotency.before_answer",
        "core.jobs.after_claim",
        "core.jobs.after_end",
        "core.jobs.after_enqueue",
        "core.jobs.after_work",
        "core.jobs.before_hint",
        "customers.create.after_insert",
        "catalog.coupon.after_count",
        "catalog.plan.after_version",
        "metering.amend.after_effects",
        "metering.amend.after_mark",
        "metering.catch_up.after_add",
        "metering.catch_up.before_commit",
        "metering.ingest.after_store",
        "metering.ingest.before_store",
        "metering.meter.after_insert",
        "metering.orphans.after_attach",
        "metering.partition.after_make",
        "metering.rollup.after_add",
        "metering.rollup.after_advance",
        "metering.rollup.after_mark",
        "metering.rollup.after_remake",
        "metering.rollup.before_commit",
        "ledger.post.after_entries",
        "ledger.post.after_postings",
        "subscriptions.contract.after_end",
        "subscriptions.contract.after_insert",
        "subscriptions.contract.after_ramp",
        "subscriptions.end.after_cut",
        "subscriptions.migrate.after_batch",
        "subscriptions.migrate.after_changes",
        "subscriptions.migrate.after_members",
        "subscriptions.notice.after_insert",
        "subscriptions.redeem.after_end",
        "subscriptions.redeem.after_insert",
        "subscriptions.renew.after_extend",
        "subscriptions.start.after_insert",
        "subscriptions.start.after_subject",
        "wallets.burn.after_frontier",
        "wallets.burn.after_lock",
        "wallets.burn.before_commit",
        "wallets.cover.after_burn",
        "wallets.cover.after_settle",
        "wallets.hold.after_insert",
        "wallets.settle.after_begin",
        "wallets.store.after_entries",
        "wallets.store.after_figures",
        "wallets.top_off.after_request",
        "invoicing.accrue.after_bill",
        "invoicing.backtest.after_chunk",
        "invoicing.backtest.after_members",
        "invoicing.bill.after_discard",
        "invoicing.bill.after_marks",
        "invoicing.bill.after_store",
        "invoicing.bill.before_store",
        "invoicing.cancel.after_move",
        "invoicing.close.after_chunk",
        "invoicing.close.after_lock",
        "invoicing.drafts.after_refresh",
        "invoicing.give_back.after_draft",
        "invoicing.issue.after_credit",
        "invoicing.issue.after_move",
        "invoicing.issue.after_number",
        "invoicing.issue.after_post",
        "invoicing.overdue.before_commit",
        "invoicing.payment.after_record",
        "invoicing.store.between_tables",
        "payments.begin.after_create",
        "payments.book.after_allocation",
        "payments.call.after",
        "payments.call.before",
        "payments.collection.after_begin",
        "payments.dispute.after_create",
        "payments.dispute.after_credit",
        "payments.dispute.after_move",
        "payments.fail.after_move",
        "payments.receive.after_create",
        "payments.refund.after_call",
        "payments.refund.after_create",
        "payments.refund.after_credit",
        "payments.refund.after_move",
        "payments.refund.before_call",
        "payments.resolve.after_claim",
        "payments.settle.after_booking",
        "payments.settle.after_move",
        "tenants.move_clock.before_commit",
        "tenants.rotate_key.after_new",
        "backoffice.clock.after_due",
        "backoffice.clock.after_move",
        "backoffice.clock.after_step",
    }
)

_MOMENT: Final = 0.02  # seconds between two looks at whether to go on waiting
_LONGEST_WAIT: Final = 900.0  # seconds; a harness that died leaves nobody waiting for ever


class FailpointReached(RuntimeError):
    """What the action ``raise`` raises."""


@dataclass(slots=True)
class _Harness:
    folder: Path | None = None


_harness = _Harness()


def arm(folder: str, *, allowed: bool) -> None:
    """Let ``folder`` decide what happens at the points of this process; "" changes nothing.

    Raises ``ImproperlyConfigured``, so that no process starts, unless it is ``allowed``.
    """
    if not folder:
        return
    if not allowed:
        raise ImproperlyConfigured(
            "FAILPOINTS lets processes die on purpose. It is for the fault harness, which says so"
            " by FAULT_HARNESS; take it out of the environment of this installation."
        )
    _harness.folder = Path(folder)


def failpoint(name: str) -> None:
    """Do here what the harness asks for; outside the harness nothing."""
    if _harness.folder is not None:
        _reach(_harness.folder, name)


def _reach(folder: Path, name: str) -> None:
    if name not in POINTS:
        raise LookupError(f"the failpoint {name!r} is not among failpoints.POINTS")
    hit = _count(folder / "hits" / name)
    for line, (point, which, action) in _armed(folder):
        if point == name and which in ("*", str(hit)):
            _act(action, folder, line)


def _count(path: Path) -> int:
    """Count one hit, also beside other processes, and return which it is."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b".")
        file.flush()
        return os.fstat(file.fileno()).st_size


def _armed(folder: Path) -> list[tuple[str, list[str]]]:
    try:
        lines = (folder / "armed").read_text().split()
    except FileNotFoundError:
        return []
    return [(line, line.split(":")) for line in lines]


def _act(action: str, folder: Path, line: str) -> None:
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise FailpointReached(line)
        case "wait":
            end = time.monotonic() + _LONGEST_WAIT
            while time.monotonic() < end and any(line == found for found, _ in _armed(folder)):
                time.sleep(_MOMENT)
        case _:
            raise LookupError(f"a failpoint cannot {action!r}")
