"""Tenants, their keys, members and clocks; the audit trail and the jobs, over HTTP."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.clock import now
from apps.core.models import AuditEvent, Job
from apps.core.web.addresses import client_address
from apps.core.web.fields import StrictSerializer
from apps.core.web.limits import limit_login
from apps.core.web.views import Door, Reader, check_body, one_of, read_body, text
from apps.tenants import operations, queries
from apps.tenants.api.authentication import BearerOfInstallation
from apps.tenants.api.serializers import (
    ApiKeyBody,
    ApiKeyView,
    AuditEventView,
    ClockBody,
    ClockView,
    JobView,
    LoginBody,
    LoginView,
    MemberBody,
    MemberView,
    NewApiKeyView,
    RoleBody,
    RotationBody,
    TenantBody,
    TenantChanges,
    TenantView,
)
from apps.tenants.domain import InstallationOnly, Role
from apps.tenants.logins import log_in
from apps.tenants.models import ApiKey, Membership, Tenant, TestClock
from apps.tenants.tokens import Token, password_stamp, sign

Filters = Mapping[str, tuple[str, Reader]]


class Login(APIView):
    """Where operators get a token."""

    authentication_classes = ()

    @extend_schema(
        tags=["auth"],
        auth=[],
        request=LoginBody,
        responses=LoginView,
        examples=[
            OpenApiExample(
                "Log in",
                request_only=True,
                value={"email": "ada@acme.example", "password": "correct horse battery staple"},
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """Log in with e-mail address and password.

        The token is sent as ``Authorization: Bearer``, with the tenant in ``X-Tenant`` (slug or
        id) and its mode in ``X-Mode`` (``live`` or ``test``).
        """
        limit_login(client_address(request))
        check_body(request)
        given = read_body(request, LoginBody)
        at = now()
        operator = log_in(given["email"], given["password"], code=given["code"], at=at)
        lifetime = timedelta(seconds=settings.JWT_LIFETIME_SECONDS)
        token = Token(
            operator.id, password_stamp(operator.password), queries.only_tenant_of(operator)
        )
        answer = {
            "token": sign(token, at=at, lifetime=lifetime),
            "expires_at": at + lifetime,
            "operator": operator.id,
            "tenants": queries.tenants_of(operator)[:100],
        }
        return Response(LoginView(answer).data, headers={"Cache-Control": "no-store"})


class Tenants(Door):
    """Every tenant that the caller may see; operators of the installation create them."""

    resource = "tenants"
    own_name = "slug"
    serializer_class = TenantView
    authentication_classes = (BearerOfInstallation,)

    def get_queryset(self) -> QuerySet[Tenant]:
        return queries.tenants_visible_to(self.principal)

    @extend_schema(
        request=TenantBody,
        responses={201: TenantView},
        examples=[
            OpenApiExample(
                "A company",
                request_only=True,
                value={
                    "slug": "acme",
                    "name": "Acme",
                    "legal_name": "Acme GmbH",
                    "currency": "EUR",
                    "zone": "Europe/Berlin",
                },
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a company: its live tenant and its test twin."""
        if self.tenant_id != queries.INSTALLATION:
            raise InstallationOnly("Only an operator of the installation creates tenants.")
        given = self.read(TenantBody)
        tenant = operations.create_tenant(id=self.effect_id, **given, actor=self.actor, at=self.at)
        return Response(TenantView(tenant).data, status=status.HTTP_201_CREATED)


class OwnTenant(Door):
    """The tenant that the caller acts for."""

    resource = "tenants"
    serializer_class = TenantView

    def get_queryset(self) -> QuerySet[Tenant]:
        return Tenant.objects.filter(pk=self.tenant_id)

    @extend_schema(operation_id="tenant_retrieve", responses=TenantView)
    def retrieve(self, request: Request) -> Response:  # type: ignore[override]  # it has no name
        """Answer the caller's tenant."""
        return Response(TenantView(queries.tenant_of(self.tenant_id)).data)

    @extend_schema(
        operation_id="tenant_change",
        request=TenantChanges,
        responses=TenantView,
        examples=[
            OpenApiExample(
                "Terms of payment",
                request_only=True,
                value={"payment_term_days": 14, "retry_days": [1, 3, 7], "invoice_prefix": "AC"},
            )
        ],
    )
    def partial_update(self, request: Request) -> Response:
        """Change how the caller's tenant does business; issued documents keep what they show."""
        given = self.read(TenantChanges)
        if "tax_ids" in given:
            given["tax_ids"] = [(one["kind"], one["value"]) for one in given["tax_ids"]]
        tenant = operations.change_tenant(self.tenant_id, **given, actor=self.actor, at=self.at)
        return Response(TenantView(tenant).data)


class ApiKeys(Door):
    """The tenant's API keys. What changes about one is effective with the next request."""

    resource = "api_keys"
    serializer_class = ApiKeyView

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.filter(tenant=self.tenant_id)

    @extend_schema(
        request=ApiKeyBody,
        responses={201: NewApiKeyView},
        examples=[
            OpenApiExample(
                "A key that only sends events",
                request_only=True,
                value={"name": "ingest", "scopes": ["events:write"]},
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a key, with at most the caller's own scopes; its secret is shown this once."""
        given = self.read(ApiKeyBody)
        key, secret = operations.create_api_key(
            self.tenant_id,
            id=self.effect_id,
            **given,
            held=self.principal.scopes,
            actor=self.actor,
            at=now(),
        )
        return _with_secret(key, secret)

    @extend_schema(
        request=RotationBody,
        responses={201: NewApiKeyView},
        examples=[
            OpenApiExample("Both work for a day", request_only=True, value={"overlap_hours": 24})
        ],
    )
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        """Replace a key by a new one; the old one works until the overlap has passed."""
        old: ApiKey = self.get_object()
        given = self.read(RotationBody)
        key, secret = operations.rotate_api_key(
            old.id,
            id=self.effect_id,
            overlap=given["overlap_hours"],
            held=self.principal.scopes,
            actor=self.actor,
            at=now(),
        )
        return _with_secret(key, secret)

    @extend_schema(request=None, responses=ApiKeyView)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """End a key at once."""
        self.read(StrictSerializer)
        key: ApiKey = self.get_object()
        key = operations.revoke_api_key(key.id, actor=self.actor, at=now())
        return Response(ApiKeyView(key).data)

    def remembered(self, response: Response) -> bytes:
        """Leave the secret out of what is kept."""
        if not isinstance(response.data, dict) or "secret" not in response.data:
            return super().remembered(response)
        return JSONRenderer().render({**response.data, "secret": None})


class Members(Door):
    """Who works for the company, in both of its modes."""

    resource = "members"
    serializer_class = MemberView

    def get_queryset(self) -> QuerySet[Membership]:
        return queries.members_of(queries.tenant_of(self.tenant_id))

    @extend_schema(
        request=MemberBody,
        responses={201: MemberView},
        examples=[
            OpenApiExample(
                "An accountant",
                request_only=True,
                value={"email": "ada@acme.example", "name": "Ada", "role": "finance"},
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Give an operator a role, with at most the caller's own rights."""
        given = self.read(MemberBody)
        member = operations.add_member(
            self.tenant_id,
            id=self.effect_id,
            email=given["email"],
            name=given["name"],
            role=Role(given["role"]),
            held=self.principal.scopes,
            actor=self.actor,
            at=now(),
        )
        return Response(MemberView(member).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        request=RoleBody,
        responses=MemberView,
        examples=[OpenApiExample("Less", request_only=True, value={"role": "read_only"})],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Give a member another role, from the next request on."""
        member: Membership = self.get_object()
        given = self.read(RoleBody)
        member = operations.change_role(
            member.id,
            role=Role(given["role"]),
            held=self.principal.scopes,
            actor=self.actor,
            at=now(),
        )
        return Response(MemberView(member).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Take a member's role away, from the next request on."""
        self.read(StrictSerializer)
        member: Membership = self.get_object()
        operations.remove_member(member.id, held=self.principal.scopes, actor=self.actor, at=now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class TestClocks(Door):
    """Clocks for a tenant in test mode, or for single customers of it."""

    __test__ = False  # for pytest: this is no test

    resource = "test_clocks"
    serializer_class = ClockView

    def get_queryset(self) -> QuerySet[TestClock]:
        return TestClock.objects.filter(tenant=self.tenant_id)

    @extend_schema(
        request=ClockBody,
        responses={201: ClockView},
        examples=[
            OpenApiExample(
                "A clock", request_only=True, value={"name": "2026", "now": "2026-01-01T00:00:00Z"}
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a clock; attach the tenant to it, or create customers with it."""
        given = self.read(ClockBody)
        clock = operations.create_clock(
            self.tenant_id, id=self.effect_id, **given, actor=self.actor, at=now()
        )
        return Response(ClockView(clock).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=TenantView)
    @action(detail=True, methods=["post"])
    def attach(self, request: Request, pk: str) -> Response:
        """Let the tenant, with all customers that have no clock of their own, live on this one."""
        self.read(StrictSerializer)
        clock: TestClock = self.get_object()
        tenant = operations.attach_clock(self.tenant_id, clock.id, actor=self.actor, at=now())
        return Response(TenantView(tenant).data)


class AuditEvents(Door):
    """What happened, to what, by whom; append-only, linked in a hash chain."""

    resource = "audit"
    serializer_class = AuditEventView
    filters: ClassVar[Filters] = {
        "object": ("object_id", text),
        "object_type": ("object_type", text),
        "type": ("type", text),
        "actor": ("actor", text),
    }

    def get_queryset(self) -> QuerySet[AuditEvent]:
        return AuditEvent.objects.filter(tenant_id=self.tenant_id)


class Jobs(Door):
    """The tenant's work in the background, with what could not be done."""

    resource = "jobs"
    serializer_class = JobView
    filters: ClassVar[Filters] = {
        "state": ("state", one_of(*Job.State.values)),
        "name": ("name", text),
    }

    def get_queryset(self) -> QuerySet[Job]:
        return Job.objects.filter(tenant_id=self.tenant_id)

    @extend_schema(request=None, responses=JobView)
    @action(detail=True, methods=["post"])
    def revive(self, request: Request, pk: str) -> Response:
        """Try a dead job again, and those that died because it did."""
        self.read(StrictSerializer)
        job: Job = self.get_object()
        job = operations.revive_job(job.id, actor=self.actor, at=self.at)
        return Response(JobView(job).data)


def _with_secret(key: ApiKey, secret: str) -> Response:
    shown: dict[str, Any] = {**ApiKeyView(key).data, "secret": secret or None}
    return Response(shown, status=status.HTTP_201_CREATED)
