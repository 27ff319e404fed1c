"""Backtests over HTTP: what another version of a plan would have come to."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Final
from uuid import UUID

from django.core import signing
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.models import Plan, PlanVersion
from apps.core.errors import Invalid, NotFound
from apps.core.ids import decode, is_id
from apps.core.money import CURRENCIES
from apps.core.web.fields import (
    AmountField,
    IdField,
    InstantField,
    NameField,
    ObjectField,
    StrictSerializer,
    WholeField,
)
from apps.core.web.paging import CursorPagination, PageInvalid, read_cursor, read_limit
from apps.core.web.views import Door, named, one_of
from apps.customers.models import Customer
from apps.invoicing.domain import MOST_BACKTEST_PERIODS, BacktestOutcome, BacktestStatus
from apps.invoicing.models import Backtest, BacktestCustomer
from apps.invoicing.operations.backtesting import Trial, begin_backtest, cancel_backtest
from apps.invoicing.queries.backtests import (
    backtest_csv,
    backtest_failures,
    backtest_movers,
    backtest_summary,
    backtests_for,
)

MOVERS: Final = 10
FAILURES: Final = 20
MOST_CUSTOMERS: Final = 10_000


class BacktestBody(StrictSerializer):
    """Which version is tested, in place of what, for whom, over how many closed periods."""

    plan = NameField(help_text="The id or key of the plan to be tested.")
    plan_version = WholeField(
        required=False, min_value=1, help_text="The newest unless given; a draft too."
    )
    from_plan = NameField(
        required=False, help_text="Whose subscriptions; the same plan's unless given."
    )
    from_version = WholeField(
        required=False, min_value=1, help_text="In place of this version alone, not of all."
    )
    periods = WholeField(min_value=1, max_value=MOST_BACKTEST_PERIODS)
    customers = serializers.ListField(
        child=NameField(),
        required=False,
        min_length=1,
        max_length=MOST_CUSTOMERS,
        help_text="Ids or external ids; everybody who had the plan unless given.",
    )


class BacktestRow(serializers.Serializer[Any]):
    """A backtest, and how far it has come."""

    object = ObjectField("backtest")
    id = IdField("btt")
    status = serializers.ChoiceField(choices=[one.value for one in BacktestStatus])
    plan = serializers.CharField(source="plan_version.plan.key")
    plan_version = serializers.IntegerField(source="plan_version.number")
    from_plan = serializers.CharField(source="from_plan.key")
    from_version = serializers.IntegerField(
        source="from_version.number", allow_null=True, default=None
    )
    periods = serializers.IntegerField()
    customers = serializers.IntegerField(help_text="How many are looked at.")
    done = serializers.IntegerField(help_text="How many of them have been.")
    reason = serializers.CharField(help_text="Why it failed.")
    created_at = InstantField()
    ended_at = InstantField(allow_null=True)


class BacktestTotalView(serializers.Serializer[Any]):
    """What it comes to in one currency, before tax."""

    currency = serializers.CharField()
    customers = serializers.IntegerField()
    billed = AmountField(help_text="With what they had, late corrections included.")
    would_be_billed = AmountField(help_text="With the version that is tested.")
    delta = AmountField(help_text="would_be_billed − billed.")
    winners = serializers.IntegerField(help_text="Would have paid less.")
    losers = serializers.IntegerField(help_text="Would have paid more.")
    unchanged = serializers.IntegerField()


class BacktestCustomerView(serializers.Serializer[Any]):
    """What it would have meant for one customer; a customer has a row for each currency."""

    object = ObjectField("backtest_customer")
    id = IdField("btc")
    customer = IdField("cus", source="customer_id")
    external_id = serializers.CharField(source="customer.external_id", allow_null=True)
    name = serializers.CharField(source="customer.name")
    outcome = serializers.ChoiceField(choices=[one.value for one in BacktestOutcome])
    subscriptions = serializers.IntegerField(help_text="How many of his were compared.")
    since = InstantField(allow_null=True, help_text="The start of the periods looked at.")
    until = InstantField(allow_null=True, help_text="Their end, exclusive.")
    currency = serializers.CharField(source="priced_in")
    billed = AmountField(currency="priced_in", allow_null=True)
    would_be_billed = AmountField(currency="priced_in", allow_null=True)
    delta = AmountField(currency="priced_in", allow_null=True)
    reason = serializers.CharField(help_text="Why he could not be rated.")


class BacktestView(BacktestRow):
    """A backtest, how far it has come, and what it has found so far."""

    failed = serializers.IntegerField(help_text="Customers who could not be rated.")
    skipped = serializers.IntegerField(help_text="Had nothing of the plan in those periods.")
    totals = BacktestTotalView(many=True)
    top_movers = BacktestCustomerView(
        many=True, help_text=f"Up to {MOVERS} each way per currency, most more first."
    )
    failures = BacktestCustomerView(many=True, help_text=f"Up to {FAILURES}.")


class ByDelta(CursorPagination):
    """Pages in the order that ``sort`` asks for; without it, newest first as everywhere."""

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: Any = None
    ) -> list[Any]:
        """Return the rows of the asked page; raise ``PageInvalid`` for what cannot be one."""
        sort = request.query_params.get("sort")
        if sort is None or not isinstance(queryset, QuerySet):
            return super().paginate_queryset(queryset, request, view)
        limit = read_limit(request.query_params.get("limit"))
        salt = f"{view.tenant_id}{request.path}{sort}"
        beyond, order = ("lt", "-") if sort == "-delta" else ("gt", "")
        rows = queryset.filter(delta__isnull=False).order_by(f"{order}delta", f"{order}pk")
        cursor = request.query_params.get("cursor")
        if cursor is not None:
            delta, pk = _position(read_cursor(cursor, salt))
            rows = rows.filter(
                Q((f"delta__{beyond}", delta)) | Q(("delta", delta), (f"pk__{beyond}", pk))
            )
        found: list[Any] = list(rows[: limit + 1])
        self.page = found[:limit]
        end = found[limit - 1] if len(found) > limit else None
        last = f"{end.delta} {end.pk}" if end is not None else None
        self.next_cursor = signing.dumps(last, salt=salt) if last else None
        return self.page


def _position(cursor: str) -> tuple[Decimal, UUID]:
    delta, _, pk = cursor.partition(" ")
    try:
        return Decimal(delta), UUID(pk)
    except (InvalidOperation, ValueError) as error:
        raise PageInvalid("Use the next_cursor of this list.") from error


@extend_schema(tags=["simulations"])
class Backtests(Door):
    """Replays of the past against another version of a plan; nobody is billed."""

    resource = "invoices"
    serializer_class = BacktestRow
    filters: ClassVar = {"status": ("status", one_of(*[one.value for one in BacktestStatus]))}

    def get_queryset(self) -> QuerySet[Backtest]:
        return backtests_for(self.tenant_id)

    def answer(self, backtest: Backtest, code: int = status.HTTP_200_OK) -> Response:
        """Answer a backtest with what it has found so far."""
        summary = backtest_summary(backtest.pk)
        told = BacktestRow(backtest).data | {
            "failed": summary.failed,
            "skipped": summary.skipped,
            "totals": BacktestTotalView(summary.totals, many=True).data,
            "top_movers": BacktestCustomerView(
                backtest_movers(backtest.pk, count=MOVERS), many=True
            ).data,
            "failures": BacktestCustomerView(
                backtest_failures(backtest.pk, count=FAILURES), many=True
            ).data,
        }
        return Response(told, code)

    @extend_schema(responses=BacktestView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer how far it has come, and what it has found: in all, top movers, and failures."""
        return self.answer(self.get_object())

    @extend_schema(
        request=BacktestBody,
        responses={202: BacktestView},
        examples=[
            OpenApiExample(
                "A draft, over the last three periods of everybody on the plan",
                value={"plan": "growth", "plan_version": 4, "periods": 3},
                request_only=True,
            ),
            OpenApiExample(
                "Another plan, for two customers",
                value={
                    "plan": "scale",
                    "from_plan": "growth",
                    "from_version": 2,
                    "periods": 12,
                    "customers": ["crm-4711", "crm-4712"],
                },
                request_only=True,
            ),
        ],
    )
    def create(self, request: Request) -> Response:
        """Replay the last closed billing periods against a version of a plan, in the background.

        Answers at once; `GET` tells how far it has come. Nobody is billed, nothing is changed.
        """
        given = self.read(BacktestBody)
        plans = Plan.objects.filter(tenant_id=self.tenant_id)
        plan: Plan = named(plans, given["plan"], own_name="key")
        was = named(plans, given["from_plan"], own_name="key") if "from_plan" in given else plan
        tested = _version(plan, given.get("plan_version"), field="plan_version")
        replaced = None
        if "from_version" in given:
            replaced = _version(was, given["from_version"], field="from_version").pk
        trial = Trial(
            tested.pk,
            from_plan_id=was.pk,
            from_version_id=replaced,
            periods=given["periods"],
            customer_ids=self._customers(given["customers"]) if "customers" in given else None,
        )
        backtest = begin_backtest(
            self.tenant_id, trial, id=self.effect_id, actor=self.actor, at=self.at
        )
        return self.answer(self.get_queryset().get(pk=backtest.pk), status.HTTP_202_ACCEPTED)

    def _customers(self, names: Sequence[str]) -> set[UUID]:
        ids = {one: decode("cus", one) for one in names if is_id("cus", one)}
        rows = Customer.objects.filter(
            Q(pk__in=ids.values()) | Q(external_id__in=names), tenant_id=self.tenant_id
        ).values_list("pk", "external_id")
        known: dict[str | UUID | None, UUID] = {}
        for pk, external_id in rows:
            known |= {pk: pk, external_id: pk}
        missing = [one for one in names if ids.get(one, one) not in known]
        if missing:
            raise NotFound(f"There are no such customers: {', '.join(missing[:20])}.",
                           field="customers")  # fmt: skip
        return {known[ids.get(one, one)] for one in names}

    @extend_schema(request=None, responses=BacktestView)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop it; what was found until then stays."""
        self.read(StrictSerializer)
        backtest: Backtest = self.get_object()
        cancel_backtest(backtest.pk, tenant_id=self.tenant_id, actor=self.actor, at=self.at)
        return self.answer(self.get_object())

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    def csv(self, request: Request, pk: str) -> HttpResponse:
        """Answer what was found of every customer as a table."""
        backtest: Backtest = self.get_object()
        return HttpResponse(backtest_csv(backtest.pk), content_type="text/csv; charset=utf-8")


@extend_schema(tags=["simulations"])
class BacktestCustomers(Door):
    """What a backtest found of each customer."""

    resource = "invoices"
    serializer_class = BacktestCustomerView
    pagination_class = ByDelta
    filters: ClassVar = {
        "outcome": ("outcome", one_of(*[one.value for one in BacktestOutcome])),
        "currency": ("priced_in", one_of(*sorted(CURRENCIES))),
    }
    parameters = frozenset({"sort"})

    def get_queryset(self) -> QuerySet[BacktestCustomer]:
        backtest = named(backtests_for(self.tenant_id), self.kwargs["pk"], own_name=None)
        rows = BacktestCustomer.objects.filter(tenant_id=self.tenant_id, backtest=backtest)
        return rows.select_related("customer")

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "sort",
                str,
                enum=["delta", "-delta"],
                description="By difference, of those who were compared: least first, or most.",
            )
        ]
    )
    def list(self, request: Request, pk: str) -> Response:  # type: ignore[override]  # below a row
        """Answer a page of what was found."""
        sort = request.query_params.get("sort")
        if sort is not None:
            try:
                one_of("delta", "-delta")(sort)
            except Invalid as error:
                raise PageInvalid(error.detail) from error
        return super().list(request)


def _version(plan: Plan, number: int | None, *, field: str) -> PlanVersion:
    versions = plan.versions.order_by("-number")
    found = (versions.filter(number=number) if number is not None else versions).first()
    if found is None:
        raise NotFound(f"The plan {plan.key} has no version {number}.", field=field)
    return found
