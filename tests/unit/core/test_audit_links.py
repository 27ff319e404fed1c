"""A link of the audit chain says what is in it: the event, its number, and all that came before."""

from datetime import UTC, datetime

import pytest

from apps.core.audit import GENESIS, link
from apps.core.ids import new_id
from apps.core.models import AuditEvent


@pytest.mark.holds("S55", "T4")
def test_a_link_depends_on_everything() -> None:
    event = AuditEvent(
        id=new_id(),
        tenant_id=new_id(),
        type="invoice.issued",
        object_type="invoice",
        object_id="inv_1",
        actor="system:test",
        at=datetime(2026, 5, 1, tzinfo=UTC),
        data={"amount": "1.00"},
    )
    first = link(GENESIS, 1, event)
    assert link(GENESIS, 1, event) == first
    assert link(first, 1, event) != first
    assert link(GENESIS, 2, event) != first
    event.data = {"amount": "1.01"}
    assert link(GENESIS, 1, event) != first
