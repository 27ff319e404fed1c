"""What people write into fields is text wherever it is shown, never markup."""

from collections import Counter
from html.parser import HTMLParser
from typing import Any, Final

import pytest
from django.test import Client
from django.urls import reverse

from apps.core.tenancy import tenant_scope
from apps.invoicing.models import Invoice
from apps.tenants.domain import Role
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.invoicing import make_issued
from tests.make.tenants import make_key, make_member, make_tenant

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S26", "S30", "B81", "B123")]

PAYLOADS: Final = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'><a href=javascript:alert(1)>x</a>",
    "</textarea></title><iframe src=//evil.example>",
    "<style>@import '//evil.example'</style>",
    "<!--<b>-->",
    "{{ settings.SECRET_KEY }}{% include 'x' %}",
    "{event.__init__.__globals__}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "\"onmouseover='alert(1)' x=\"",
    "&lt;script&gt;&#x3c;b&#x3e;",
    'x-data="alert(1)" @click=alert(1)',
    "\u202egpj.exe <b>",
)


class Shape(HTMLParser):
    """How often each element with its attributes' names occurs in a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: Counter[Any] = Counter()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag, tuple(sorted(name for name, _ in attrs))] += 1

    def handle_data(self, data: str) -> None:
        self.text += data


def make_documents(payload: str) -> tuple[Tenant, Invoice]:
    """Return a tenant that has the text wherever people can write one, and an invoice of it."""
    tenant = make_tenant(name=payload)
    tenant.legal_name = tenant.address = payload
    tenant.save()
    address = {"line1": payload, "city": payload}
    customer = make_customer(tenant, name=payload, address=address, metadata={"note": payload})
    return tenant, make_issued(customer, ["1.00"], descriptions=[payload])


def shapes(payload: str) -> dict[str, Shape]:
    """Return the pages that show the text."""
    tenant, invoice = make_documents(payload)
    client, api = Client(), Api(make_key(tenant))
    client.force_login(make_member(tenant, role=Role.OWNER).operator)
    with tenant_scope(tenant.id):
        customer = invoice.customer
    pages = {
        "document": api.get(f"/invoices/{invoice.public_id}/html"),
        "customer": client.get(reverse("admin:customers_customer_change", args=[customer.pk])),
        "customers": client.get(reverse("admin:customers_customer_changelist")),
        "invoice": client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])),
        "search": client.get(reverse("admin:customers_customer_changelist"), {"q": payload}),
        "dashboard": client.get("/admin/"),
    }
    assert {name: page.status_code for name, page in pages.items()} == dict.fromkeys(pages, 200)
    return {name: Shape(page.content.decode()) for name, page in pages.items()}


def test_no_text_becomes_markup() -> None:
    plain = shapes("Harmless")
    wrong: list[tuple[Any, ...]] = []
    for payload in PAYLOADS:
        for name, shape in shapes(payload).items():
            if name != "search" and shape.found != plain[name].found:
                wrong.append((payload, name, shape.found - plain[name].found))
            if name in {"document", "customer", "invoice"} and payload not in shape.text:
                wrong.append((payload, name, "is not shown as it was written"))
    assert wrong == []


def test_the_api_gives_back_what_was_written() -> None:
    api = Api(make_key(make_tenant()))
    for payload in PAYLOADS:
        answer = api.post("/customers", {"name": payload})
        assert (answer.status_code, answer.json()["name"]) == (201, payload)
        assert answer.headers["Content-Type"] == "application/json"
