"""How every route of the API is called, as data: one row per method and route, more where more is named.

``{kind}`` in a path, a query or a body stands for the name of a thing: its id, or its owner's own name
for it; ``{new}`` for what is new in every request. A route that names nothing of anybody's stands in ``NAMES_NOTHING``.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from apps.tenants.domain import Mode


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is answered well if all it names is the caller's own."""

    method: str
    path: str
    body: Any = None
    mode: Mode = Mode.LIVE

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (
            " in the body" if "{" in json.dumps(self.body)[1:] else ""
        )


_TERMS: Final = {
    "currency": "USD",
    "billing_period": "monthly",
    "charges": [{"key": "base", "pricing": {"model": "flat", "amount": "59.00"}}],
}
_EVENT: Final = {"idempotency_key": "{new}", "timestamp": "2026-05-01T11:00:00Z", "value": "1"}
_APRIL: Final = {"start": "2026-04-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"}
_LATER: Final = {**_EVENT, "timestamp": "2026-05-01T12:00:00Z"}
_UNDO: Final = {"action": "undo", "reason": "a mistake"}
_BACKFILL: Final = {"action": "backfill", "reason": "a queue was down"}
_CUTOFF: Final = {"cutoff": "2026-05-01T12:00:00Z"}
_TEST: Final = Mode.TEST

CALLS: Final = (
    Call("GET", "tenants/{tenant}"),
    Call("GET", "api-keys/{api_key}"),
    Call("POST", "api-keys/{api_key}/rotate", {}),
    Call("GET", "members/{member}"),
    Call("PATCH", "members/{member}", {"role": "support"}),
    Call("DELETE", "members/{member}"),
    Call("GET", "test-clocks/{test_clock}", mode=_TEST),
    Call("POST", "test-clocks/{test_clock}/attach", mode=_TEST),
    Call("GET", "test-clocks/{test_clock}/advance", mode=_TEST),
    Call("POST", "test-clocks/{test_clock}/advance", {"by": {"days": 1}}, mode=_TEST),
    Call("GET", "audit-events/{audit_event}"),
    Call("GET", "audit-events?object={customer_id}"),
    Call("GET", "jobs/{job}"),
    Call("POST", "jobs/{job}/revive"),
    Call("GET", "customers/{customer}"),
    Call("PATCH", "customers/{customer}", {"name": "Renamed"}),
    Call("GET", "customers?external_id={customer_name}"),
    Call("GET", "customers?test_clock={test_clock}", mode=_TEST),
    Call("POST", "customers", {"name": "New", "test_clock": "{test_clock}"}, mode=_TEST),
    Call("GET", "customers/{customer}/usage"),
    Call("GET", "customers/{customer}/usage?meter={meter}"),
    Call("GET", "customers/{customer}/payment-methods"),
    Call(
        "POST",
        "customers/{customer}/payment-methods",
        {"provider": "external", "external_key": "another"},
    ),
    Call("GET", "meters/{meter}"),
    Call("GET", "meters?key={meter_name}"),
    Call("GET", "meters/{meter}/versions"),
    Call("POST", "meters/{meter}/versions", {"aggregation": "max"}),
    Call("GET", "streams/{stream}"),
    Call("GET", "streams?handle={stream_name}"),
    Call("PATCH", "streams/{stream}", {"value_path": "count"}),
    Call("POST", "streams/{stream_name}/events", {"user": "{customer_name}", "page": "{new}"}),
    Call(
        "POST", "streams/{stream_name}/events/bulk", [{"user": "{customer_name}", "page": "{new}"}]
    ),
    Call("POST", "events", {**_EVENT, "meter": "{meter_name}", "customer": "{customer}"}),
    Call("POST", "events", {**_EVENT, "meter": "{meter_name}", "subscription": "{subscription}"}),
    Call(
        "POST",
        "events/batch",
        {"events": [{**_EVENT, "meter": "{meter_name}", "customer": "{customer}"}]},
    ),
    Call("POST", "subscriptions/{subscription}/usages", {"meter": "{meter}", "quantity": "1"}),
    Call(
        "POST",
        "simulations/invoice",
        {**_APRIL, "customer": "{customer}", "plan": "{plan}", "price_list": "{price_list}"},
    ),
    Call("GET", "event-amendments/{amendment}"),
    Call("GET", "event-amendments/{amendment}/events"),
    Call("POST", "event-amendments", {**_UNDO, "amendment": "{amendment}"}),
    Call(
        "POST",
        "event-amendments",
        {
            **_BACKFILL,
            "events": [{**_LATER, "meter": "{meter_name}", "customer": "{customer}"}],
        },
    ),
    Call("GET", "orphan-events/{orphan}"),
    Call("GET", "orphan-events?subject={orphan_name}"),
    Call("POST", "orphan-events/reattach", {"ids": ["{orphan}"], "customer": "{customer}"}),
    Call("POST", "orphan-events/reattach", {"filter": {"subject": "{orphan_name}"}}),
    Call("GET", "subscriptions/{subscription}/usage"),
    Call("GET", "subscriptions/{subscription}/usage?meter={meter}"),
    Call("GET", "customers/{customer}/entitlements"),
    Call("GET", "customers/{customer}/entitlements/{feature_name}"),
    Call("GET", "features/{feature}"),
    Call("POST", "features", {"key": "crawled", "kind": "metered", "meter": "{meter_name}"}),
    Call("GET", "tax-rates/{tax_rate}"),
    Call("GET", "tax-rates?key={tax_rate_name}"),
    Call("POST", "tax-rates/{tax_rate}/end", {"valid_until": "2077-01-01T00:00:00Z"}),
    Call("POST", "tax-rates/{tax_rate}/archive"),
    Call("GET", "products/{product}"),
    Call("GET", "price-lists/{price_list}"),
    Call("GET", "coupons/{coupon}"),
    Call("POST", "coupons/{spare_coupon}/archive"),
    Call(
        "POST",
        "coupons",
        {"key": "for-one", "name": "N", "percentage": "5", "products": ["{product_name}"]},
    ),
    Call("GET", "plans/{plan}"),
    Call("GET", "plans?product={product_name}"),
    Call("POST", "plans/{plan}/versions", _TERMS),
    Call("POST", "plans", {**_TERMS, "key": "crawled", "name": "C", "product": "{product_name}"}),
    Call(
        "POST",
        "plans",
        {
            **_TERMS,
            "key": "granting",
            "name": "G",
            "features": [{"feature": "{feature_name}", "limit": "1"}],
        },
    ),
    Call(
        "POST",
        "plans",
        {
            **_TERMS,
            "key": "metered",
            "name": "M",
            "charges": [
                {
                    "key": "usage",
                    "meter": "{meter_name}",
                    "pricing": {"model": "per_unit", "unit_price": "1"},
                }
            ],
        },
    ),
    Call(
        "POST",
        "catalog",
        {
            "plans": [
                {
                    **_TERMS,
                    "key": "uploaded",
                    "name": "Uploaded",
                    "product": "{product_name}",
                }
            ]
        },
    ),
    Call("GET", "add-on-offers/{offer}"),
    Call("GET", "add-on-offers?plan={plan_name}"),
    Call("GET", "add-on-offers?add_on={extra_product_name}"),
    Call(
        "POST",
        "add-on-offers",
        {"base": {"plan": "{plan_name}"}, "add_on": "{extra_product_name}"},
    ),
    Call("DELETE", "add-on-offers/{offer}"),
    Call("GET", "plan-transitions/{transition}"),
    Call("POST", "plan-transitions", {"to": {"plan": "{plan_name}"}}),
    Call("POST", "plan-transitions", {"from": {"product": "{product_name}"}}),
    Call("DELETE", "plan-transitions/{transition}"),
    Call("GET", "plan-versions/{plan_version}"),
    Call("GET", "plan-versions?plan={plan_name}"),
    Call("PUT", "plan-versions/{draft_version}", {**_TERMS, "publish": False}),
    Call("POST", "plan-versions/{draft_version}/publish"),
    Call("POST", "plan-versions/{plan_version}/retire"),
    Call("GET", "plan-migrations/{migration}"),
    Call("GET", "plan-migrations/{migration}/members"),
    Call("POST", "plan-migrations/{migration}/roll-back"),
    Call(
        "POST",
        "plan-migrations?preview=true",
        {"plan": "{plan}", "from_version": 1, "to_version": 2, "subscriptions": ["{subscription}"]},
    ),
    Call("POST", "plan-migrations", {"plan": "{plan}", "from_version": 1, "to_version": 2}),
    Call("GET", "backtests/{backtest}"),
    Call("GET", "backtests/{backtest}/customers"),
    Call("GET", "backtests/{backtest}/customers?outcome=winner&sort=delta"),
    Call("GET", "backtests/{backtest}/customers.csv"),
    Call("POST", "backtests", {"plan": "{plan}", "periods": 1, "customers": ["{customer}"]}),
    Call("POST", "backtests", {"plan": "{plan}", "periods": 1, "from_plan": "{plan_name}"}),
    Call("POST", "backtests/{backtest}/cancel"),
    Call("GET", "subscriptions/{subscription}"),
    Call("GET", "subscriptions?customer={customer}"),
    Call("GET", "subscriptions?plan={plan_name}"),
    Call("GET", "subscriptions?external_id={subscription_name}"),
    Call(
        "POST",
        "subscriptions",
        {"customer": "{customer}", "plan": "{plan}", "price_list": "{price_list}"},
    ),
    Call("GET", "contracts/{contract}"),
    Call("GET", "contracts?customer={customer}"),
    Call("GET", "contracts?subscription={subscription_id}"),
    Call("GET", "contracts?external_id={contract_name}"),
    Call("POST", "contracts", {"name": "N", "customer": "{customer}"}),
    Call("POST", "contracts", {"name": "N", "subscription": "{subscription}"}),
    Call("PATCH", "contracts/{contract}", {"name": "Renamed"}),
    Call("POST", "contracts/{contract}/end"),
    Call("GET", "coupon-redemptions/{redemption}"),
    Call("GET", "coupon-redemptions?customer={customer}"),
    Call("GET", "coupon-redemptions?subscription={subscription_id}"),
    Call("GET", "coupon-redemptions?code={coupon_name}"),
    Call("POST", "coupon-redemptions", {"code": "{coupon_name}", "subscription": "{subscription}"}),
    Call(
        "POST", "coupon-redemptions", {"code": "{customers_coupon_name}", "customer": "{customer}"}
    ),
    Call("POST", "coupon-redemptions/{redemption}/end"),
    Call("GET", "subscriptions/{subscription}/periods?count=1"),
    Call("GET", "subscriptions/{subscription}/scheduled-changes"),
    Call("DELETE", "subscriptions/{subscription}/scheduled-changes/{change}"),
    Call("PATCH", "subscriptions/{subscription}", {"metadata": {"a": "b"}}),
    Call(
        "POST", "subscriptions/{subscription}/changes", {"verb": "change_quantity", "quantity": "2"}
    ),
    Call(
        "POST",
        "subscriptions/{subscription}/changes",
        {"verb": "change_plan", "plan": "{plan}", "quantity": "3"},
    ),
    Call(
        "POST",
        "subscriptions/{subscription}/changes",
        {"verb": "change_prices", "price_list": "{price_list}"},
    ),
    Call(
        "POST",
        "subscriptions/{subscription}/changes",
        {"verb": "add_add_on", "add_on": "{extra_plan}"},
    ),
    Call(
        "POST",
        "subscriptions/{subscription}/changes",
        {"verb": "remove_add_on", "add_on": "{extra_plan}"},
    ),
    Call("POST", "subscriptions/{subscription}/uncancel"),
    Call("POST", "subscriptions/{subscription}/renew"),
    Call("POST", "subscriptions/{subscription}/uncancel"),
    Call(
        "POST",
        "subscriptions/{subscription}/changes?preview=true",
        {"verb": "change_quantity", "quantity": "2"},
    ),
    Call("PATCH", "subscriptions/{subscription}", {"metadata": {"seen": "yes"}}),
    Call("POST", "subscriptions/{subscription}/cancel", {"mode": "now"}),
    Call("GET", "invoices?customer={customer}"),
    Call("POST", "invoices/preview", {"customer": "{customer}", **_CUTOFF}),
    Call("POST", "invoices", {"customer": "{customer}", **_CUTOFF}),
    Call("GET", "invoices/{invoice}"),
    Call("PUT", "invoices/{invoice}", {}),
    Call("PATCH", "invoices/{invoice}", {}),
    Call("DELETE", "invoices/{invoice}"),
    Call("POST", "invoices/{invoice}/lines", {}),
    Call("PUT", "invoices/{invoice}/lines", {}),
    Call("PATCH", "invoices/{invoice}/lines", {}),
    Call("DELETE", "invoices/{invoice}/lines"),
    Call("GET", "invoices/{invoice}/html"),
    Call("GET", "invoices/{invoice}/events"),
    Call("GET", "invoices/{invoice}/lines/{line}/explain"),
    Call("GET", "invoices/{invoice}/lines/{line}/verify"),
    Call("GET", "invoices/{invoice}/lines/{line}/usage-events"),
    Call("GET", "invoices/{invoice}/pdf"),
    Call("POST", "invoices/{invoice}/cancel"),
    Call("POST", "invoices/{invoice}/pay", {"payment_method": "{method}", "amount": "1.00"}),
    Call("POST", "invoices/{invoice}/charge", {}),
    Call("POST", "invoices/{invoice}/write-off", {"reason": "gone"}),
    Call("GET", "refunds/{refund}"),
    Call("GET", "refunds?customer={customer_id}"),
    Call("GET", "refunds?payment={payment}"),
    Call("POST", "payments/{payment}/refunds", {"amount": "1.00", "reason": "x"}),
    Call(
        "POST",
        "payments/{payment}/refunds",
        {"amount": "1.00", "reason": "x", "credit_memo": "{memo_id}"},
    ),
    Call("GET", "disputes/{dispute}"),
    Call("GET", "disputes?customer={customer_id}"),
    Call("GET", "disputes?payment={payment}"),
    Call("POST", "payments/{payment}/disputes", {"amount": "1.00", "reference": "{new}"}),
    Call("POST", "disputes/{dispute}/lose", {"reason": "x"}),
    Call("POST", "disputes/{dispute}/win", {"reason": "x"}),
    Call("POST", "credit-memos/{memo}/refund", {"amount": "1.00", "reason": "x"}),
    Call(
        "POST",
        "credit-memos/{memo}/refund",
        {"amount": "1.00", "reason": "x", "payment": "{payment}"},
    ),
    Call("POST", "invoices/{draft}/issue"),
    Call("GET", "payments/{payment}"),
    Call("GET", "payments?customer={customer_id}"),
    Call("GET", "payments?invoice={invoice_id}"),
    Call("GET", "payments?payment_method={method}"),
    Call("GET", "payments?provider_ref={payment_name}"),
    Call("GET", "payment-methods/{method}"),
    Call("POST", "payment-methods/{method}/set-default"),
    Call("DELETE", "payment-methods/{method}"),
    Call("GET", "ledger/accounts/{account}"),
    Call("GET", "ledger/accounts?customer={customer_id}"),
    Call("GET", "ledger/entries?account={account}"),
    Call("GET", "ledger/entries?customer={customer_id}"),
    Call("GET", "ledger/entries?source_key={entry_name}"),
    Call("GET", "ledger/entries/{entry}"),
    Call("GET", "credit-units/{unit}"),
    Call("GET", "credit-prices/{credit_price}"),
    Call("POST", "credit-prices", {"meter": "{spare_meter}", "unit": "{unit}", "price": "2"}),
    Call("GET", "wallets/{wallet}"),
    Call("PATCH", "wallets/{wallet}", {"name": "Renamed"}),
    Call("GET", "wallets?customer={customer_id}"),
    Call("GET", "wallets?customer_external_id={customer_name}"),
    Call("GET", "wallets?external_id={wallet_name}"),
    Call("GET", "wallets?unit={unit_name}"),
    Call("POST", "wallets", {"customer": "{customer}", "unit": "{unit}"}),
    Call("POST", "wallets/{wallet}/consume", {"amount": "1"}),
    Call("POST", "wallets/{wallet}/purchases", {"amount": "100"}),
    Call("GET", "customers/{customer}/credit-summary"),
    Call("GET", "credit-grants/{grant}"),
    Call("GET", "credit-grants?wallet={wallet_id}"),
    Call("GET", "credit-grants?customer={customer_id}"),
    Call("POST", "credit-grants", {"wallet": "{wallet}", "amount": "1"}),
    Call("POST", "credit-grants", {"customer": "{customer}", "unit": "{unit}", "amount": "1"}),
    Call("POST", "credit-grants/{grant}/void", {"amount": "1", "reason": "given twice"}),
    Call("POST", "credit-grants/{grant}/refund", {"reason": "leaves"}),
    Call("GET", "holds/{hold}"),
    Call("GET", "holds?wallet={wallet_id}"),
    Call("GET", "holds?customer={customer_id}"),
    Call("GET", "holds?external_id={hold_name}"),
    Call("POST", "holds", {"wallet": "{wallet}", "amount": "1", "ttl": 60}),
    Call(
        "POST", "holds", {"customer": "{customer}", "unit": "{unit_name}", "amount": "1", "ttl": 60}
    ),
    Call("POST", "holds/{hold}/capture", {"amount": "1"}),
    Call("POST", "holds/{spare_hold}/release"),
    Call("POST", "authorize", {"wallet": "{wallet}", "amount": "1"}),
    Call("POST", "authorize", {"customer": "{customer}", "unit": "{unit_name}", "amount": "1"}),
    Call("GET", "credit-transactions/{transaction}"),
    Call("GET", "credit-transactions?wallet={wallet_id}"),
    Call("GET", "credit-transactions?customer={customer_id}"),
    Call("GET", "credit-transactions?customer_external_id={customer_name}"),
    Call("GET", "credit-transactions?grant={grant}"),
    Call("GET", "credit-transactions?hold={hold_id}"),
    Call("GET", "credit-transactions?invoice={invoice_id}"),
    Call("GET", "credit-transactions?meter={meter_name}"),
    Call("GET", "credit-transactions?unit={unit_name}"),
    # what ends something comes last, so that the rest finds it
    Call("POST", "plans/{plan}/archive"),
    Call("DELETE", "plans/{draft_plan}"),
    Call("POST", "meters/{meter}/archive"),
    Call("POST", "streams/{stream}/archive"),
    Call("POST", "wallets/{wallet}/close"),
    Call("POST", "api-keys/{api_key}/revoke"),
)

# they name nothing: not in their path, nor in what they take
NAMES_NOTHING: Final = frozenset(
    {
        ("POST", "auth/login"),
        ("GET", "tenant"),
        ("PATCH", "tenant"),
        ("GET", "tenants"),
        ("POST", "tenants"),
        ("GET", "api-keys"),
        ("POST", "api-keys"),
        ("GET", "members"),
        ("POST", "members"),
        ("GET", "test-clocks"),
        ("POST", "test-clocks"),
        ("GET", "jobs"),
        ("POST", "meters"),
        ("POST", "streams"),
        ("GET", "event-amendments"),
        ("GET", "orphan-events/count"),
        ("GET", "credit-units"),
        ("POST", "credit-units"),
        ("GET", "credit-prices"),
        ("GET", "features"),
        ("GET", "tax-rates"),
        ("POST", "tax-rates"),
        ("GET", "products"),
        ("POST", "products"),
        ("GET", "add-on-offers"),
        ("GET", "backtests"),
        ("GET", "plan-migrations"),
        ("GET", "plan-transitions"),
        ("GET", "coupons"),
        ("GET", "price-lists"),
        ("POST", "price-lists"),
        ("GET", "catalog"),
        ("GET", "payment-methods"),
        ("GET", "ledger/accounts"),
        ("GET", "ledger/entries"),
        ("GET", "ledger/trial-balance"),
    }
)
