"""Migrations of subscriptions to another version of their plan, over HTTP."""

import csv
from io import StringIO
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.models import Plan, PlanVersion
from apps.catalog.queries import version_on_sale
from apps.core.errors import NotFound
from apps.core.ids import encode
from apps.core.money import plain
from apps.core.web.fields import (
    AmountField,
    IdField,
    InstantField,
    NameField,
    ObjectField,
    StrictSerializer,
    WholeField,
)
from apps.core.web.views import Door, named, one_of
from apps.subscriptions.api.previewing import cohort_previewer
from apps.subscriptions.domain import (
    LARGEST_BATCH,
    Behaviour,
    MemberOutcome,
    MigrationStatus,
    PlanNotOnSale,
    SubscriptionPreview,
)
from apps.subscriptions.models import PlanMigration, PlanMigrationMember, Subscription
from apps.subscriptions.operations.migrating import (
    Cohort,
    begin_migration,
    cohort_of,
    foresee_migration,
    roll_back_migration,
)
from apps.subscriptions.queries import migrations_for

_COLUMNS: Final = ("subscription", "external_id", "customer", "currency", "total", "otherwise",
                   "difference", "refused")  # fmt: skip


class MigrationBody(StrictSerializer):
    """Who is to be moved where, as of when, and how that is billed."""

    plan = NameField(help_text="The plan's id or key.")
    from_version = WholeField(min_value=1)
    to_version = WholeField(
        min_value=1, required=False, help_text="The newest published one unless given."
    )
    subscriptions = serializers.ListField(
        child=NameField(),
        required=False,
        min_length=1,
        max_length=10_000,
        help_text="Ids or external ids; all that are on the version unless given.",
    )
    effective_at = InstantField(
        required=False,
        help_text="Past or future; now unless given, for each by the clock of its customer.",
    )
    behaviour = serializers.ChoiceField(
        choices=[one.value for one in Behaviour if one is not Behaviour.NEXT_PERIOD],
        default=Behaviour.PRORATE.value,
    )
    batch_size = WholeField(min_value=1, max_value=LARGEST_BATCH, required=False, default=100)


class MigrationView(serializers.Serializer[Any]):
    """A migration, and how far it has come."""

    object = ObjectField("plan_migration")
    id = IdField("mig")
    status = serializers.ChoiceField(choices=[one.value for one in MigrationStatus])
    plan = serializers.CharField(source="from_version.plan.key")
    from_version = serializers.IntegerField(source="from_version.number")
    to_version = serializers.IntegerField(source="to_version.number")
    effective_at = InstantField()
    behaviour = serializers.ChoiceField(choices=[one.value for one in Behaviour])
    batch_size = serializers.IntegerField()
    pending = serializers.IntegerField(help_text="How many are still to be moved.")
    migrated = serializers.IntegerField()
    refused = serializers.IntegerField()
    rolled_back = serializers.IntegerField()
    created_at = InstantField()
    rolled_back_at = InstantField(allow_null=True)


class MigrationMemberView(serializers.Serializer[Any]):
    """What has become of one subscription."""

    object = ObjectField("plan_migration_member")
    id = IdField("mgm")
    subscription = IdField("sub", source="subscription_id")
    effective_at = InstantField(help_text="As of when it is moved.")
    change = IdField("sch", source="change_id", allow_null=True)
    outcome = serializers.ChoiceField(choices=[one.value for one in MemberOutcome])
    reason = serializers.CharField()


class MoneyRow(serializers.Serializer[Any]):
    """What a migration would mean for one subscription, before tax."""

    subscription = IdField("sub", source="subscription_id")
    external_id = serializers.CharField(allow_null=True)
    customer = IdField("cus", source="customer_id")
    currency = serializers.CharField()
    total = AmountField(help_text="What it would be billed by the cutoff.")
    otherwise = AmountField(help_text="What it would be billed by then without the migration.")
    difference = AmountField(help_text="total − otherwise; below zero it is credited.")


class RefusedRow(serializers.Serializer[Any]):
    """A subscription that would stay, and why."""

    subscription = IdField("sub")
    reason = serializers.CharField()


class MigrationPreviewView(serializers.Serializer[Any]):
    """What a migration would cost whom; nothing of it is stored."""

    object = ObjectField("plan_migration_preview")
    cutoff = InstantField(
        help_text="Up to when it is told; for customers on a test clock, by that clock."
    )
    subscriptions = MoneyRow(many=True)
    refused = RefusedRow(many=True)


@extend_schema(tags=["subscriptions"])
class PlanMigrations(Door):
    """Moving subscriptions to another version of their plan, many at once."""

    resource = "subscriptions"
    serializer_class = MigrationView
    parameters: ClassVar[frozenset[str]] = frozenset({"preview", "limit", "cursor"})

    def get_queryset(self) -> QuerySet[PlanMigration]:
        return migrations_for(self.tenant_id)

    def answer(self, migration_id: UUID, code: int = status.HTTP_200_OK) -> Response:
        """Answer a migration as it is now."""
        return Response(MigrationView(self.get_queryset().get(pk=migration_id)).data, code)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "preview",
                str,
                enum=["true", "false", "csv"],
                description="true, csv: tell what it would cost whom, and do nothing.",
            )
        ],
        request=MigrationBody,
        responses={
            200: MigrationPreviewView,
            201: PolymorphicProxySerializer(
                component_name="MigrationOrPreview",
                serializers=[MigrationView, MigrationPreviewView],
                resource_type_field_name=None,
            ),
        },
        examples=[
            OpenApiExample(
                "Everybody on version 1, a hundred at a time",
                value={"plan": "seats", "from_version": 1, "batch_size": 100},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Any:
        """Move all subscriptions on a version of a plan, or those named, to another version.

        As of one instant, by jobs, a batch at a time; its answer and `GET` tell how far it has come.
        """
        given = self.read(MigrationBody)
        preview = one_of("true", "false", "csv")(request.query_params.get("preview", "false"))
        cohort = self._cohort(given)
        if preview != "false":
            return self._preview(cohort, as_csv=preview == "csv")
        migration = begin_migration(
            self.tenant_id,
            cohort,
            id=self.effect_id,
            batch_size=given["batch_size"],
            actor=self.actor,
            at=self.at,
        )
        return self.answer(migration.pk, status.HTTP_201_CREATED)

    def _cohort(self, given: dict[str, Any]) -> Cohort:
        plan: Plan = named(
            Plan.objects.filter(tenant_id=self.tenant_id), given["plan"], own_name="key"
        )
        to = version_on_sale(plan, given.get("to_version"))
        if to is None:
            raise PlanNotOnSale(f"Of the plan {plan.key} that version is not on sale.")
        was = PlanVersion.objects.filter(plan=plan, number=given["from_version"]).first()
        if was is None:
            raise NotFound(f"The plan {plan.key} has no such version.", field="from_version")
        ids = None
        if "subscriptions" in given:
            rows = Subscription.objects.filter(tenant_id=self.tenant_id)
            ids = [named(rows, one, own_name="external_id").pk for one in given["subscriptions"]]
        return cohort_of(
            self.tenant_id,
            from_version_id=was.pk,
            to_version_id=to.pk,
            effective_at=given.get("effective_at"),
            behaviour=Behaviour(given["behaviour"]),
            subscription_ids=ids,
        )

    def _preview(self, cohort: Cohort, *, as_csv: bool) -> Any:
        terms, refused = foresee_migration(cohort, at=self.at)
        tell = cohort_previewer()
        told = [row for until, some in terms.items() for row in tell(some, cutoff=until)]
        if as_csv:
            return _csv(told, refused)
        rows = [{"subscription": pk, "reason": reason} for pk, reason in refused.items()]
        cutoff = max(self.at, cohort.effective_at or self.at)
        shown = {"cutoff": cutoff, "subscriptions": told, "refused": rows}
        return Response(MigrationPreviewView(shown).data)

    @extend_schema(responses=MigrationMemberView(many=True))
    @action(detail=True, methods=["get"])
    def members(self, request: Request, pk: str) -> Response:
        """Answer a page of the subscriptions of a migration, and what has become of them."""
        migration: PlanMigration = self.get_object()
        rows = PlanMigrationMember.objects.filter(migration=migration)
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(MigrationMemberView(page, many=True).data)

    @extend_schema(request=None, responses=MigrationView)
    @action(detail=True, methods=["post"], url_path="roll-back")
    def roll_back(self, request: Request, pk: str) -> Response:
        """Return those who were moved to the version they had, as of the same instant."""
        self.read(StrictSerializer)
        migration: PlanMigration = self.get_object()
        roll_back_migration(migration.pk, actor=self.actor, at=self.at)
        return self.answer(migration.pk)


def _csv(told: list[SubscriptionPreview], refused: dict[UUID, str]) -> HttpResponse:
    page = StringIO()
    writer = csv.writer(page)
    writer.writerow(_COLUMNS)
    for one in told:
        amounts = (plain(amount) for amount in (one.total, one.otherwise, one.difference))
        # a spreadsheet would compute what looks like a formula
        own = one.external_id or ""
        own = f"'{own}" if own.startswith(("=", "+", "-", "@")) else own
        named_by = (encode("sub", one.subscription_id), own)
        writer.writerow([*named_by, encode("cus", one.customer_id), one.currency, *amounts, ""])
    for subscription_id, reason in refused.items():
        writer.writerow([encode("sub", subscription_id), "", "", "", "", "", "", reason])
    return HttpResponse(page.getvalue(), content_type="text/csv; charset=utf-8")
