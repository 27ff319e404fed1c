"""Products, price lists, plans and their versions, and whole catalogs, over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.api.reading import documents_read
from apps.catalog.api.serializers import (
    CatalogDocument,
    CatalogView,
    FeatureDocument,
    FeatureView,
    PlanDocument,
    PlanRow,
    PlanVersionRow,
    PlanVersionView,
    PlanView,
    PriceListBody,
    PriceListView,
    ProductBody,
    ProductView,
    UploadView,
    VersionDocument,
)
from apps.catalog.domain import PlanVersionStatus, ProductKind
from apps.catalog.exporting import catalog_document
from apps.catalog.models import Feature, Plan, PlanVersion, PriceList, Product
from apps.catalog.operations import features, lists, plans
from apps.catalog.operations.upload_catalog import upload_catalog
from apps.catalog.queries import drafts_of, plans_for
from apps.core.web.fields import StrictSerializer
from apps.core.web.parsing import refuse
from apps.core.web.views import Door, Reader, one_of, text

_GROWTH: Final = {
    "key": "growth",
    "name": "Growth",
    "currency": "USD",
    "billing_period": "monthly",
    "charges": [
        {
            "meter": "api_calls",
            "pricing": {
                "model": "graduated",
                "tiers": [
                    {"up_to": "100000", "unit_price": "0"},
                    {"up_to": "1000000", "unit_price": "0.0001"},
                    {"up_to": None, "unit_price": "0.00005"},
                ],
            },
        },
        {
            "key": "base_fee",
            "name": "Growth base fee",
            "pricing": {"model": "flat", "amount": "49.00"},
        },
    ],
}
_CATALOG: Final = {
    "products": [{"key": "usage-demo", "kind": "base"}],
    "meters": [
        {
            "key": "input-m-tokens",
            "name": "Input Tokens (per Million)",
            "event_name": "input.tokens",
            "aggregation": "sum",
        }
    ],
    "plans": [
        {
            "key": "usage-monthly",
            "name": "Usage Monthly Scenario",
            "product": "usage-demo",
            "phases": [
                {
                    "kind": "evergreen",
                    "charges": [
                        {
                            "key": "usage-monthly-1",
                            "meter": "input-m-tokens",
                            "period": "monthly",
                            "prices": [
                                {
                                    "currency": "USD",
                                    "pricing": {
                                        "model": "tiered_blocks",
                                        "policy": "all_tiers",
                                        "tiers": [
                                            {
                                                "block_size": "1000000",
                                                "max_blocks": None,
                                                "block_price": "2.00",
                                            }
                                        ],
                                    },
                                }
                            ],
                        }
                    ],
                }
            ],
        }
    ],
}


class CatalogDoor(Door):
    """What every endpoint of the catalog has in common."""

    resource = "catalog"

    def document(self) -> object:
        """Return the body, which operations read themselves; refuse an empty one."""
        if not self.request._request.body.strip():
            refuse("body_empty", "The request body is empty; send a JSON object.")
        return self.request.data


@extend_schema(tags=["catalog"])
class Products(CatalogDoor):
    """Things that plans sell."""

    own_name = "key"
    serializer_class = ProductView

    def get_queryset(self) -> QuerySet[Product]:
        return Product.objects.filter(tenant_id=self.tenant_id)

    @extend_schema(
        request=ProductBody,
        responses={201: ProductView},
        examples=[
            OpenApiExample(
                "A product", value={"key": "growth", "name": "Growth"}, request_only=True
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Add a product."""
        given = self.read(ProductBody)
        product = lists.create_product(
            self.tenant_id,
            id=self.effect_id,
            **{**given, "kind": ProductKind(given["kind"])},
            actor=self.actor,
            at=self.at,
        )
        return Response(ProductView(product).data, status.HTTP_201_CREATED)


@extend_schema(tags=["catalog"])
class PriceLists(CatalogDoor):
    """Alternative prices."""

    own_name = "key"
    serializer_class = PriceListView

    def get_queryset(self) -> QuerySet[PriceList]:
        return PriceList.objects.filter(tenant_id=self.tenant_id)

    @extend_schema(
        request=PriceListBody,
        responses={201: PriceListView},
        examples=[
            OpenApiExample(
                "A price list", value={"key": "partner", "name": "Partners"}, request_only=True
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Add a price list, whose key subscriptions and usages may name."""
        price_list = lists.create_price_list(
            self.tenant_id,
            id=self.effect_id,
            **self.read(PriceListBody),
            actor=self.actor,
            at=self.at,
        )
        return Response(PriceListView(price_list).data, status.HTTP_201_CREATED)


@extend_schema(tags=["catalog"])
class Features(CatalogDoor):
    """What plans let their customers do."""

    own_name = "key"
    serializer_class = FeatureView

    def get_queryset(self) -> QuerySet[Feature]:
        return Feature.objects.filter(tenant_id=self.tenant_id).select_related("meter")

    @extend_schema(
        request=FeatureDocument,
        responses={201: FeatureView},
        examples=[
            OpenApiExample(
                "Calls that are counted by a meter",
                value={"key": "calls", "name": "API calls", "meter": "api_calls"},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Add a feature, which the phases of plans may grant."""
        with documents_read():
            feature = features.create_feature(
                self.tenant_id,
                id=self.effect_id,
                document=self.document(),
                actor=self.actor,
                at=self.at,
            )
        return Response(FeatureView(feature).data, status.HTTP_201_CREATED)


@extend_schema(tags=["catalog"])
class Plans(CatalogDoor):
    """Plans with their versions."""

    own_name = "key"
    serializer_class = PlanRow
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {"product": ("product__key", text)}

    def get_queryset(self) -> QuerySet[Plan]:
        versions = PlanVersion.objects.select_related("plan").order_by("number")
        return plans_for(self.tenant_id).prefetch_related(Prefetch("versions", versions))

    def answer(self, plan: Plan, code: int = status.HTTP_200_OK) -> Response:
        """Answer a plan with the terms of its versions."""
        phases = drafts_of([version.pk for version in plan.versions.all()])
        return Response(PlanView(plan, context={"phases": phases}).data, code)

    @extend_schema(responses=PlanView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer one plan with the terms of all its versions."""
        return self.answer(self.get_object())

    @extend_schema(
        request=PlanDocument,
        responses={201: PlanView},
        examples=[
            OpenApiExample("A tiered plan with a base fee", value=_GROWTH, request_only=True)
        ],
    )
    def create(self, request: Request) -> Response:
        """Add a plan with its version 1, published unless `publish` is false."""
        with documents_read():
            plan = plans.create_plan(
                self.tenant_id,
                id=self.effect_id,
                document=self.document(),
                actor=self.actor,
                at=self.at,
            )
        return self.answer(self.get_queryset().get(pk=plan.pk), status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Remove a plan that was never published."""
        self.read(StrictSerializer)
        plans.delete_plan(self.get_object().pk, actor=self.actor, at=self.at)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses=PlanView)
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, pk: str) -> Response:
        """Take a plan off sale; its subscriptions go on."""
        self.read(StrictSerializer)
        plan = plans.archive_plan(self.get_object().pk, actor=self.actor, at=self.at)
        return self.answer(self.get_queryset().get(pk=plan.pk))

    @extend_schema(
        methods=["post"],
        request=VersionDocument,
        responses={201: PlanVersionView},
        examples=[
            OpenApiExample(
                "Another price",
                value={
                    "currency": "USD",
                    "billing_period": "monthly",
                    "charges": [
                        {"key": "base_fee", "pricing": {"model": "flat", "amount": "59.00"}}
                    ],
                },
                request_only=True,
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def versions(self, request: Request, pk: str) -> Response:
        """Add the next version. Subscriptions keep the version they have."""
        with documents_read():
            version = plans.add_version(
                self.get_object().pk,
                id=self.effect_id,
                document=self.document(),
                actor=self.actor,
                at=self.at,
            )
        return Response(version_view(version), status.HTTP_201_CREATED)


@extend_schema(tags=["catalog"])
class PlanVersions(CatalogDoor):
    """Versions of plans, and what can be done to each."""

    serializer_class = PlanVersionRow
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "plan": ("plan__key", text),
        "status": ("status", one_of(*(one.value for one in PlanVersionStatus))),
    }

    def get_queryset(self) -> QuerySet[PlanVersion]:
        return PlanVersion.objects.filter(tenant_id=self.tenant_id).select_related("plan")

    @extend_schema(responses=PlanVersionView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer one version with its terms."""
        return Response(version_view(self.get_object()))

    @extend_schema(
        request=VersionDocument,
        responses=PlanVersionView,
        examples=[
            OpenApiExample(
                "A draft with another price",
                value={
                    "currency": "USD",
                    "billing_period": "monthly",
                    "charges": [
                        {"key": "base_fee", "pricing": {"model": "flat", "amount": "59.00"}}
                    ],
                    "publish": False,
                },
                request_only=True,
            )
        ],
    )
    def update(self, request: Request, pk: str) -> Response:
        """Replace the terms of a draft, and publish it unless `publish` is false."""
        with documents_read():
            version = plans.replace_draft(
                self.get_object().pk, document=self.document(), actor=self.actor, at=self.at
            )
        return Response(version_view(version))

    @extend_schema(request=None, responses=PlanVersionView)
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, pk: str) -> Response:
        """Put a draft on sale and fix its terms for ever."""
        self.read(StrictSerializer)
        version = plans.publish_version(self.get_object().pk, actor=self.actor, at=self.at)
        return Response(version_view(version))

    @extend_schema(request=None, responses=PlanVersionView)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Take a version off sale; its subscriptions go on."""
        self.read(StrictSerializer)
        version = plans.retire_version(self.get_object().pk, actor=self.actor, at=self.at)
        return Response(version_view(version))


def version_view(version: PlanVersion) -> Any:
    """Return one version with its terms, for an answer."""
    return PlanVersionView(version, context={"phases": drafts_of([version.pk])}).data


@extend_schema(tags=["catalog"])
class Catalog(CatalogDoor):
    """The whole catalog as one document."""

    @extend_schema(operation_id="catalog_export", responses=CatalogView)
    def export(self, request: Request) -> Response:
        """Answer the catalog as a document whose upload changes nothing."""
        return Response(catalog_document(self.tenant_id))

    @extend_schema(
        operation_id="catalog_upload",
        request=CatalogDocument,
        responses=UploadView,
        examples=[
            OpenApiExample("A plan with blocks of a million", value=_CATALOG, request_only=True)
        ],
    )
    def upload(self, request: Request) -> Response:
        """Make the catalog say what the document says: all of it, or nothing.

        An upload of the same document changes nothing; a plan or a meter with other terms gets its
        next version.
        """
        with documents_read():
            made = upload_catalog(
                self.tenant_id, document=self.document(), actor=self.actor, at=self.at
            )
        return Response(UploadView({"items": made}).data)
