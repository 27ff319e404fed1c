"""Everything that happens because something else happened: event -> jobs.

``core.events.record`` writes the jobs in the transaction of the event. A job gets the id of what
the event is about as ``subject``.
"""

from typing import Final

REACTIONS: Final[dict[str, tuple[str, ...]]] = {
    "meter.created": ("metering.reattach_orphans",),
    "meter.revised": ("metering.reattach_orphans",),
    "invoice.issued": ("payments.collect_invoice",),
    # of a subscription that was canceled with a refund
    "invoice.refund_wanted": ("payments.refund_unused",),
    "invoice.canceled": ("payments.end_collection", "wallets.cancel_purchase"),
    "invoice.written_off": ("payments.end_collection",),
    # a migration goes on, batch by batch
    "plan_migration.begun": ("subscriptions.continue_migration",),
    "plan_migration.progressed": ("subscriptions.continue_migration",),
    "plan_migration.rolling_back": ("subscriptions.continue_migration",),
    # a backtest goes on, chunk by chunk
    "backtest.begun": ("invoicing.continue_backtest",),
    "backtest.progressed": ("invoicing.continue_backtest",),
    # credit is bought by an invoice: asked for, sold, and given or not
    "credit_grant.requested": ("invoicing.sell_credit",),
    "credit_grant.refunded": ("invoicing.refund_credit",),
    # usage that credit does not cover: subscription.uncovered and subscription.covered tell of it
    "wallet.short": ("wallets.flag_subscriptions",),
    "wallet.covered": ("wallets.flag_subscriptions",),
    "invoice.credit_taken_back": ("invoicing.claw_back_credit",),
    # prepaid credit follows the money that had bought it
    "dispute.opened": ("payments.follow_dispute",),
    "dispute.won": ("payments.follow_dispute",),
    "dispute.lost": ("payments.follow_dispute",),
    "invoice.credit_paid": ("wallets.settle_purchase", "payments.follow_disputes_of"),
    "invoice.uncollected": ("wallets.fail_purchase",),
}
