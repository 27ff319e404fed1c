"""Who gets through which door: every role and every scope at every route of the API, as tables."""

from typing import Any, Final

import pytest

from apps.tenants.domain import RESOURCES, SCOPES, Mode, Role
from tests.make.api import Api
from tests.make.tenants import PASSWORD, make_key, make_member, make_tenant
from tests.security.routes import api_routes

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S5")]

# what each role may read and write: r, rw
RIGHTS: Final = """
resource       owner  admin  finance  support  developer  read_only
tenants        rw     r      r        r        r          r
api_keys       rw     rw     r        r        rw         r
members        rw     rw     r        r        r          r
test_clocks    rw     rw     r        r        rw         r
customers      rw     rw     rw       rw       r          r
meters         rw     rw     r        r        rw         r
events         rw     rw     r        rw       rw         r
usage          rw     rw     r        r        r          r
taxes          rw     rw     rw       r        r          r
catalog        rw     rw     r        r        rw         r
subscriptions  rw     rw     r        rw       r          r
wallets        rw     rw     rw       r        r          r
invoices       rw     rw     rw       r        r          r
payments       rw     rw     rw       r        r          r
ledger         rw     rw     r        r        r          r
audit          rw     rw     r        r        r          r
jobs           rw     rw     r        r        rw         r
"""

# which right opens which route; GET reads, everything else writes
DOORS: Final = """
tenant                                         tenants
tenants                                        tenants
tenants/{pk}                                   tenants
api-keys                                       api_keys
api-keys/{pk}                                  api_keys
api-keys/{pk}/revoke                           api_keys
api-keys/{pk}/rotate                           api_keys
members                                        members
members/{pk}                                   members
test-clocks                                    test_clocks
test-clocks/{pk}                               test_clocks
test-clocks/{pk}/attach                        test_clocks
test-clocks/{pk}/advance                       test_clocks
audit-events                                   audit
audit-events/{pk}                              audit
jobs                                           jobs
jobs/{pk}                                      jobs
jobs/{pk}/revive                               jobs
customers                                      customers
customers/{pk}                                 customers
customers/{pk}/entitlements                    subscriptions
customers/{pk}/entitlements/{feature}          subscriptions
customers/{pk}/payment-methods                 payments
customers/{pk}/usage                           usage
meters                                         meters
meters/{pk}                                    meters
meters/{pk}/archive                            meters
meters/{pk}/versions                           meters
streams                                        meters
streams/{pk}                                   meters
streams/{pk}/archive                           meters
streams/{handle}/events                        events
streams/{handle}/events/bulk                   events
events                                         events
events/batch                                   events
subscriptions/{pk}/usages                      events
event-amendments                               events
event-amendments/{pk}                          events
event-amendments/{pk}/events                   events
orphan-events                                  events
orphan-events/count                            events
orphan-events/reattach                         events
orphan-events/{pk}                             events
subscriptions/{pk}/usage                       usage
features                                       catalog
features/{pk}                                  catalog
tax-rates                                      taxes
tax-rates/{pk}                                 taxes
tax-rates/{pk}/archive                         taxes
tax-rates/{pk}/end                             taxes
products                                       catalog
products/{pk}                                  catalog
price-lists                                    catalog
price-lists/{pk}                               catalog
coupons                                        catalog
coupons/{pk}                                   catalog
coupons/{pk}/archive                           catalog
plans                                          catalog
plans/{pk}                                     catalog
plans/{pk}/archive                             catalog
plans/{pk}/versions                            catalog
add-on-offers                                  catalog
add-on-offers/{pk}                             catalog
plan-transitions                               catalog
plan-transitions/{pk}                          catalog
plan-versions                                  catalog
plan-versions/{pk}                             catalog
plan-versions/{pk}/publish                     catalog
plan-versions/{pk}/retire                      catalog
catalog                                        catalog
contracts                                      subscriptions
contracts/{pk}                                 subscriptions
contracts/{pk}/end                             subscriptions
coupon-redemptions                             subscriptions
coupon-redemptions/{pk}                        subscriptions
coupon-redemptions/{pk}/end                    subscriptions
plan-migrations                                subscriptions
plan-migrations/{pk}                           subscriptions
plan-migrations/{pk}/members                   subscriptions
plan-migrations/{pk}/roll-back                 subscriptions
subscriptions                                  subscriptions
subscriptions/{pk}                             subscriptions
subscriptions/{pk}/cancel                      subscriptions
subscriptions/{pk}/changes                     subscriptions
subscriptions/{pk}/uncancel                    subscriptions
subscriptions/{pk}/changes                     subscriptions
subscriptions/{pk}/periods                     subscriptions
subscriptions/{pk}/renew                       subscriptions
subscriptions/{pk}/scheduled-changes           subscriptions
subscriptions/{pk}/scheduled-changes/{change}  subscriptions
subscriptions/{pk}/uncancel                    subscriptions
invoices                                       invoices
invoices/preview                               invoices
invoices/{pk}                                  invoices
simulations/invoice                            invoices
backtests                                      invoices
backtests/{pk}                                 invoices
backtests/{pk}/cancel                          invoices
backtests/{pk}/customers                       invoices
backtests/{pk}/customers.csv                   invoices
invoices/{pk}/cancel                           invoices
invoices/{pk}/events                           invoices
invoices/{pk}/html                             invoices
invoices/{pk}/issue                            invoices
invoices/{pk}/lines                            invoices
invoices/{pk}/lines/{line}/explain             invoices
invoices/{pk}/lines/{line}/usage-events        invoices
invoices/{pk}/lines/{line}/verify              invoices
invoices/{pk}/pdf                              invoices
invoices/{pk}/write-off                        invoices
invoices/{pk}/charge                           payments
invoices/{pk}/pay                              payments
payments                                       payments
payments/{pk}                                  payments
payments/{pk}/refunds                          payments
payments/{pk}/disputes                         payments
disputes                                       payments
disputes/{pk}                                  payments
disputes/{pk}/lose                             payments
disputes/{pk}/win                              payments
refunds                                        payments
refunds/{pk}                                   payments
credit-memos/{pk}/refund                       payments
payment-methods                                payments
payment-methods/{pk}                           payments
payment-methods/{pk}/set-default               payments
wallets                                        wallets
wallets/{pk}                                   wallets
wallets/{pk}/close                             wallets
wallets/{pk}/consume                           wallets
wallets/{pk}/purchases                         wallets
credit-units                                   wallets
credit-units/{pk}                              wallets
credit-prices                                  wallets
credit-prices/{pk}                             wallets
credit-grants                                  wallets
credit-grants/{pk}                             wallets
credit-grants/{pk}/refund                      wallets
credit-grants/{pk}/void                        wallets
holds                                          wallets
holds/{pk}                                     wallets
holds/{pk}/capture                             wallets
holds/{pk}/release                             wallets
credit-transactions                            wallets
credit-transactions/{pk}                       wallets
customers/{pk}/credit-summary                  wallets
authorize                                      wallets
ledger/accounts                                ledger
ledger/accounts/{pk}                           ledger
ledger/entries                                 ledger
ledger/entries/{pk}                            ledger
ledger/trial-balance                           ledger
"""

# who logs in has no right yet
OPEN: Final = {("POST", "auth/login")}
# tenants are created by operators of the installation, whatever the scopes
INSTALLATION: Final = ("POST", "tenants")


def rights() -> dict[tuple[str, Role], str]:
    """Return the table of rights by resource and role."""
    head, *rows = (line.split() for line in RIGHTS.strip().splitlines())
    return {
        (row[0], Role(role)): cell
        for row in rows
        for role, cell in zip(head[1:], row[1:], strict=True)
    }


def doors() -> dict[str, str]:
    """Return the table of doors: path to resource."""
    return dict(line.split() for line in DOORS.strip().splitlines())


def needed() -> list[tuple[str, str, str]]:
    """Return method, path and the scope that opens it, of every route."""
    table = doors()
    return [
        (method, path, f"{table[path]}:{'read' if method == 'GET' else 'write'}")
        for method, path, _ in api_routes()
        if (method, path) not in OPEN
    ]


def opened(api: Api, method: str, path: str) -> bool:
    """Say whether the caller gets through the door, whatever is behind it."""
    answer: Any = api.send(
        method, "/" + path.replace("{", "").replace("}", ""), b"" if method == "GET" else b"{}"
    )
    if answer.status_code != 403:
        return True
    reason = answer.json()["reason"]
    return bool(reason == "installation_only" and (method, path) == INSTALLATION)


@pytest.mark.parametrize("role", list(Role))
def test_a_role_opens_exactly_its_doors(role: Role) -> None:
    table, tenant = rights(), make_tenant(mode=Mode.TEST)
    live = tenant.twin
    member = make_member(live, role=role)
    login = Api().post(
        "/auth/login", {"email": member.operator.email, "password": PASSWORD}, key=None
    )
    api = Api(login.json()["token"], X_Tenant=live.slug, X_Mode="test")
    wrong = []
    for method, path, scope in needed():
        resource, _, access = scope.partition(":")
        allowed = access[0] in table[resource, role]
        if path.partition("/")[0] == "tenants" and method != "GET":
            allowed = False  # only who runs the installation
        if opened(api, method, path) != allowed:
            wrong.append((method, path, allowed))
    assert wrong == []


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_a_scope_opens_exactly_its_doors(scope: str) -> None:
    api = Api(make_key(make_tenant(mode=Mode.TEST), scopes=[scope]))
    resource, _, access = scope.partition(":")
    wrong = []
    for method, path, wanted in needed():
        of, _, what = wanted.partition(":")
        allowed = resource in {of, "*"} and access in {what, "write"}
        if opened(api, method, path) != allowed:
            wrong.append((method, path, allowed))
    assert wrong == []


def test_the_tables_are_whole() -> None:
    assert doors().keys() == {
        path for method, path, _ in api_routes() if (method, path) not in OPEN
    }
    assert rights().keys() == {(resource, role) for resource in RESOURCES for role in Role}
    assert set(rights().values()) == {"r", "rw"}


def test_the_doors_that_are_open_to_all_are_few() -> None:
    answers = {
        (method, path): Api().send(method, "/" + path, b"{}", key=None).status_code
        for method, path, _ in api_routes()
    }
    assert {door for door, status in answers.items() if status != 401} == OPEN
