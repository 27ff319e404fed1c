"""The matrix: who meets whom, and which rows of the reliability page that keeps."""

import pytest

from apps.backoffice.books import breaches
from apps.core.tenancy import current_tenant, tenant_scope
from tests.make.races import at_once
from tests.races import coupons, disputes, documents, house, money, refunds, terms
from tests.races.course import Course

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 3
holds = pytest.mark.holds

MATRIX = [
    pytest.param(documents.close_by_close, marks=holds("F35", "P3", "F30", "F32")),
    pytest.param(documents.close_by_ingest, marks=holds("F36", "U3", "U4")),
    pytest.param(documents.close_by_hand, marks=holds("P3")),
    pytest.param(documents.one_request_by_itself, marks=holds("F72", "P3")),
    pytest.param(documents.issue_by_issue, marks=holds("I6", "F41")),
    pytest.param(documents.issue_by_close, marks=holds("I6", "F41")),
    pytest.param(documents.sweep_by_sweep, marks=holds("I4", "F30")),
    pytest.param(documents.fifty_numbers, marks=holds("I4")),
    pytest.param(documents.cancel_by_cancel, marks=holds("I7")),
    pytest.param(documents.write_off_by_write_off, marks=holds("I7", "L3")),
    pytest.param(documents.cancel_by_write_off, marks=holds("I7", "P6")),
    pytest.param(documents.overdue_by_overdue, marks=holds("P6", "F30")),
    pytest.param(documents.credit_by_credit, marks=holds("I8", "F45")),
    pytest.param(money.pay_by_pay, marks=holds("Y1", "F43")),
    pytest.param(money.pay_by_itself, marks=holds("Y2", "F43")),
    pytest.param(money.pay_by_collecting, marks=holds("Y1", "F40")),
    pytest.param(money.pay_by_cancel, marks=holds("F41", "Y5")),
    pytest.param(money.pay_by_write_off, marks=holds("I7", "L5")),
    pytest.param(money.pay_by_overdue, marks=holds("P6")),
    pytest.param(money.transfer_by_transfer, marks=holds("Y4", "B105")),
    pytest.param(money.transfer_by_charge, marks=holds("Y5")),
    pytest.param(money.many_parts, marks=holds("Y5")),
    pytest.param(money.settle_by_settle, marks=holds("Y6", "J1", "F50")),
    pytest.param(refunds.refund_by_refund, marks=holds("I8", "B103", "S39")),
    pytest.param(refunds.refund_by_itself, marks=holds("Y9", "J2")),
    pytest.param(refunds.cancel_by_refund, marks=holds("I8", "Y9", "F42")),
    pytest.param(refunds.settle_by_fail, marks=holds("Y6", "Y9")),
    pytest.param(refunds.memo_by_billing, marks=holds("I8", "F45")),
    pytest.param(refunds.ask_by_ask, marks=holds("Y3", "F30")),
    pytest.param(refunds.claw_by_spend, marks=holds("W6")),
    pytest.param(disputes.dispute_by_refund, marks=holds("F58", "I8")),
    pytest.param(disputes.dispute_by_itself, marks=holds("Y9", "F58")),
    pytest.param(disputes.win_by_lose, marks=holds("Y9", "Y6")),
    pytest.param(disputes.dispute_by_billing, marks=holds("F58")),
    pytest.param(money.ask_by_ask, marks=holds("Y3", "F30")),
    pytest.param(money.job_by_job, marks=holds("J4", "F32")),
    pytest.param(money.default_by_default, marks=holds("S39")),
    pytest.param(terms.cancel_by_cancel, marks=holds("B88", "P6")),
    pytest.param(terms.schedule_by_schedule, marks=holds("B88")),
    pytest.param(terms.cancel_by_renew, marks=holds("F42", "P6")),
    pytest.param(terms.renew_by_renew, marks=holds("P6")),
    pytest.param(terms.withdraw_by_due, marks=holds("P6")),
    pytest.param(terms.due_by_due, marks=holds("F30", "F32")),
    pytest.param(terms.start_by_start, marks=holds("B87")),
    pytest.param(terms.name_by_name, marks=holds("B84", "B87")),
    pytest.param(terms.publish_by_subscribe, marks=holds("P5", "F69")),
    pytest.param(terms.retire_by_subscribe, marks=holds("P5", "F69")),
    pytest.param(terms.version_by_version, marks=holds("P5")),
    pytest.param(terms.meter_by_meter, marks=holds("B84")),
    pytest.param(terms.stream_by_stream, marks=holds("B84")),
    pytest.param(terms.revise_by_revise, marks=holds("P5")),
    pytest.param(terms.roll_up_by_ingest, marks=holds("U10", "U11")),
    pytest.param(terms.event_by_event, marks=holds("U1", "U2")),
    pytest.param(terms.orphan_by_orphan, marks=holds("F70")),
    pytest.param(coupons.redeem_by_redeem, marks=holds("I9", "F43", "S39")),
    pytest.param(coupons.redeem_by_itself, marks=holds("I9", "F43")),
    pytest.param(house.request_by_itself, marks=holds("J2", "F43")),
    pytest.param(house.revoke_by_use, marks=holds("S8")),
    pytest.param(house.rotate_by_rotate, marks=holds("S10")),
    pytest.param(house.slug_by_slug, marks=holds("S39")),
    pytest.param(house.owner_by_owner, marks=holds("S39")),
    pytest.param(house.clock_by_clock, marks=holds("J5")),
    pytest.param(house.seal_by_write, marks=holds("T4", "U10")),
]


@pytest.mark.parametrize("course", MATRIX)
def test_race(course: Course) -> None:
    for _ in range(ROUNDS):
        with tenant_scope(None):
            race = course()
            race.judge(at_once(*race.runners))
            assert list(breaches(current_tenant())) == []
