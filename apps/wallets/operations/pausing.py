"""Letting a wallet buy nothing by rule while its money goes back: the same card would pay again."""

from apps.wallets.models import TopOffRule, Wallet
from apps.wallets.operations.till import Till


def pause_top_off(till: Till, wallet: Wallet, source: str) -> None:
    """Pause the wallet's top-off rule, if it has one, for what ``source`` names.

    Until the rule is set anew, or all for which it pauses has ended. The till holds the wallet. A
    repeat changes nothing.
    """
    rule = TopOffRule.objects.filter(wallet=wallet).first()
    if rule is None or source in rule.paused_by:
        return
    rule.paused_by = [*rule.paused_by, source]
    rule.paused_at = rule.paused_at or till.at
    rule.save(update_fields=["paused_by", "paused_at"])
    till.tell("wallet.top_off_paused", wallet, source=source)


def resume_top_off(till: Till, wallet: Wallet, source: str) -> None:
    """Let the rule go on, unless it pauses for something else too; a repeat changes nothing."""
    rule = TopOffRule.objects.filter(wallet=wallet).first()
    if rule is None or source not in rule.paused_by:
        return
    rule.paused_by = [one for one in rule.paused_by if one != source]
    rule.paused_at = rule.paused_at if rule.paused_by else None
    rule.save(update_fields=["paused_by", "paused_at"])
    if not rule.paused_by:
        till.tell("wallet.top_off_resumed", wallet, source=source)
