"""What the desk does to wallets, grants and holds, and what it asks for before."""

from django import forms

from apps.core.clock import now
from apps.customers.queries import customer_now
from apps.tenants.desk import By, amount_field, instant_field, reason_field
from apps.wallets.models import CreditGrant, CreditHold, Wallet
from apps.wallets.operations.adjusting import adjust_wallet
from apps.wallets.operations.granting import grant_credit, refund_grant, void_grant
from apps.wallets.operations.spending import release_hold
from apps.wallets.operations.wallets import close_wallet


class GrantForm(forms.Form):
    """Credit that is given away."""

    amount = amount_field("Amount")
    expires_at = instant_field("Expires, exclusive")
    reason = reason_field()


class AdjustForm(forms.Form):
    """What a wallet has is set right."""

    amount = amount_field(
        "Amount", may_be_negative=True, help_text="Below zero, such as -5, takes credit away."
    )
    reason = reason_field()


class VoidForm(forms.Form):
    """Credit is taken back."""

    amount = amount_field(
        "Amount", required=False, help_text="Leave it empty for all that is left."
    )
    reason = reason_field()


class RefundForm(forms.Form):
    """The money of credit goes back."""

    reason = reason_field()


def grant(wallet: Wallet, by: By) -> None:
    """Give promotional credit."""
    grant_credit(
        wallet.id,
        id=by.effect_id,
        tenant_id=wallet.tenant_id,
        amount=by.given["amount"],
        expires_at=by.given["expires_at"],
        reason=by.given["reason"],
        actor=by.actor,
        at=customer_now(wallet.customer, wall=now()),
    )


def adjust(wallet: Wallet, by: By) -> None:
    """Add to what the wallet has, or take from it."""
    adjust_wallet(
        wallet.id,
        id=by.effect_id,
        tenant_id=wallet.tenant_id,
        amount=by.given["amount"],
        reason=by.given["reason"],
        actor=by.actor,
        at=customer_now(wallet.customer, wall=now()),
    )


def void(grant: CreditGrant, by: By) -> None:
    """Take back what the grant has left, or part of it."""
    void_grant(
        grant.id,
        id=by.effect_id,
        tenant_id=grant.tenant_id,
        amount=by.given["amount"],
        reason=by.given["reason"],
        actor=by.actor,
        at=customer_now(grant.wallet.customer, wall=now()),
    )


def refund(grant: CreditGrant, by: By) -> None:
    """Take back what the grant has left; its money goes back."""
    refund_grant(
        grant.id,
        tenant_id=grant.tenant_id,
        reason=by.given["reason"],
        actor=by.actor,
        at=customer_now(grant.wallet.customer, wall=now()),
    )


def release(hold: CreditHold, by: By) -> None:
    """Give back what is held."""
    release_hold(
        hold.id,
        tenant_id=hold.tenant_id,
        actor=by.actor,
        at=customer_now(hold.wallet.customer, wall=now()),
    )


def close(wallet: Wallet, by: By) -> None:
    """Close the wallet for good."""
    close_wallet(
        wallet.id,
        tenant_id=wallet.tenant_id,
        actor=by.actor,
        at=customer_now(wallet.customer, wall=now()),
    )
