"""manage.py catalog: the catalog as a file, compared with what there is, and applied."""

import json
import re
import sys
from argparse import ArgumentParser
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml
from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder

from apps.backoffice.management.arguments import add_tenant, tenant_named
from apps.backoffice.operations.catalogs import Planned, plan_catalog
from apps.catalog.exporting import catalog_document
from apps.catalog.operations.upload_catalog import upload_catalog
from apps.core.clock import now
from apps.core.errors import BillingError, Invalid
from apps.core.money import plain
from apps.tenants.models import Tenant
from apps.tenants.queries import tenant_now

_ACTOR: Final = "system:manage.py catalog"
_DECIMAL: Final = re.compile(r"-?[0-9]+\.[0-9]+")
_SIGNS: Final = {"created": "+", "changed": "~", "unchanged": "="}


class _Reader(yaml.SafeLoader):
    """Reads numbers with a point as decimals, and dates as they are written."""


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal | str:
    text = str(loader.construct_scalar(node))
    return Decimal(text) if _DECIMAL.fullmatch(text) else text


def _text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_Reader.add_constructor("tag:yaml.org,2002:float", _decimal)
_Reader.add_constructor("tag:yaml.org,2002:timestamp", _text)


class Command(BaseCommand):
    """Compare a file with the catalog (plan), make the catalog say what it says (apply), write one.

    A published version never changes: a plan with other terms gets its next version, and
    subscriptions keep the one they have. Nothing is removed. What ``export`` writes, ``plan`` finds
    to change nothing, and so does whatever has been applied.
    """

    help = "Compare a catalog file with the catalog, apply it, or export the catalog."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["plan", "apply", "export"])
        parser.add_argument("file", metavar="FILE", help="YAML or JSON; - is standard in or out")
        add_tenant(parser)
        parser.add_argument("--json", action="store_true", help="answer as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and tell of each thing on a line of its own."""
        tenant = tenant_named(options["tenant"])
        if tenant is None:
            raise CommandError("Say whose catalog: --tenant acme/live.")
        if options["action"] == "export":
            self._export(tenant, options["file"])
            return
        document = _read(options["file"])
        at = tenant_now(tenant, wall=now())
        try:
            planned = plan_catalog(tenant.id, document=document, actor=_ACTOR, at=at)
            if options["action"] == "apply":
                upload_catalog(tenant.id, document=document, actor=_ACTOR, at=at)
        except Invalid as error:
            problems = [f"{one.field}: {one.detail}" for one in error.errors]
            raise CommandError("\n".join(problems or [error.detail or error.reason])) from error
        except BillingError as error:
            raise CommandError(error.detail or error.reason) from error
        if options["json"]:
            items = [_told(one) for one in planned]
            self.stdout.write(json.dumps({"action": options["action"], "items": items}))
            return
        for one in planned:
            self.stdout.write(_line(one))
        changed = sum(1 for one in planned if one.item.change != "unchanged")
        self.stdout.write(f"{len(planned)} things described, {changed} of them new or changed.")

    def _export(self, tenant: Tenant, file: str) -> None:
        document = json.loads(json.dumps(catalog_document(tenant.id), cls=DjangoJSONEncoder))
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        if file == "-":
            self.stdout.write(text)
        else:
            Path(file).write_text(text)


def _read(file: str) -> object:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        return yaml.load(text, _Reader)  # noqa: S506 -- a safe loader, with decimals
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from error


def _line(one: Planned) -> str:
    item, touched = one.item, one.touched
    text = f"{_SIGNS[item.change]} {item.kind} {item.key}"
    if item.version is not None:
        text += f", version {item.version}"
    if touched.subscriptions:
        text += f"; {touched.subscriptions} subscriptions keep the version they have"
        sums = [f"{plain(amount)} {currency}" for currency, amount in touched.differences.items()]
        text += (
            f"; moving {touched.previewed} of them now would bill {', '.join(sums) or 'nothing'}"
            " more for their current periods"
        )
    return text


def _told(one: Planned) -> dict[str, object]:
    touched = one.touched
    return {
        "kind": one.item.kind,
        "key": one.item.key,
        "change": str(one.item.change),
        "version": one.item.version,
        "subscriptions": touched.subscriptions,
        "previewed": touched.previewed,
        "differences": [
            {"currency": currency, "amount": plain(amount)}
            for currency, amount in touched.differences.items()
        ],
    }
