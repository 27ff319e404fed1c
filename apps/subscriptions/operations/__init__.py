"""Beginning, canceling, renewing and ending subscriptions.

Every operation locks the customer and then the subscription, so it never runs beside a billing run
of the same customer. A change that lies before the last run sets ``changed_from``: the next run
bills or credits the difference.
"""

from apps.subscriptions.operations.canceling import (
    cancel_subscription,
    foresee_cancellation,
    foresee_uncancellation,
    uncancel_subscription,
)
from apps.subscriptions.operations.changing import change_subscription
from apps.subscriptions.operations.contracting import (
    create_contract,
    describe_contract,
    end_contract,
)
from apps.subscriptions.operations.describing import describe_subscription
from apps.subscriptions.operations.foreseeing import foresee_change
from apps.subscriptions.operations.marking import mark_billed, mark_changed
from apps.subscriptions.operations.noticing import tell_of_endings
from apps.subscriptions.operations.passing import apply_due_changes, apply_due_changes_of
from apps.subscriptions.operations.redeeming import end_discount, redeem_coupon
from apps.subscriptions.operations.renewing import foresee_renewal, renew_subscription
from apps.subscriptions.operations.starting import start_subscription
from apps.subscriptions.operations.uncovering import flag_uncovered
from apps.subscriptions.operations.withdrawing import withdraw_change

__all__ = (
    "apply_due_changes",
    "apply_due_changes_of",
    "cancel_subscription",
    "change_subscription",
    "create_contract",
    "describe_contract",
    "describe_subscription",
    "end_contract",
    "end_discount",
    "flag_uncovered",
    "foresee_cancellation",
    "foresee_change",
    "foresee_renewal",
    "foresee_uncancellation",
    "mark_billed",
    "mark_changed",
    "redeem_coupon",
    "renew_subscription",
    "start_subscription",
    "tell_of_endings",
    "uncancel_subscription",
    "withdraw_change",
)
