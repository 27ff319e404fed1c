"""Who sends a request: an API key or an operator's token, and for which tenant."""

import base64
import binascii
from typing import Any, Final
from urllib.parse import unquote_plus

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apps.core.clock import now
from apps.core.errors import FieldError, Unauthenticated
from apps.core.ids import encode
from apps.core.tenancy import enter_tenant, tenant_scope
from apps.core.web.addresses import client_address
from apps.core.web.limits import RateLimited, limit_login
from apps.core.web.parsing import HeaderInvalid
from apps.core.web.principal import Principal
from apps.tenants import operations, queries, secrets
from apps.tenants.domain import ApiKeyInUrl, ApiKeyInvalid, Mode, WrongRealm
from apps.tenants.logins import log_in
from apps.tenants.models import Operator

_JWT_DOTS: Final = 2


class Bearer(BaseAuthentication):
    """An API key as Bearer token, ``X-API-Key`` or Basic user name, or an operator's token.

    An operator names his tenant by ``X-Tenant`` (slug or id), unless he works at one only, and its
    mode by ``X-Mode`` (``live`` unless said otherwise). Every request is looked up: what has been
    revoked is refused at once. Works on Django's requests as on the REST framework's.
    """

    def authenticate(self, request: Request | HttpRequest) -> tuple[Principal, None] | None:
        """Return the caller, whose tenant's scope the request is in from now on.

        None without credentials; raise for those that are not good.
        """
        _refuse_key_in_url(request)
        principal = self._principal(request)
        if principal is None:
            return None
        enter_tenant(principal.tenant_id)
        return principal, None

    def _principal(self, request: Request | HttpRequest) -> Principal | None:
        credential = _credential(request)
        if credential is None:
            if settings.SESSION_COOKIE_NAME in request.COOKIES:
                raise WrongRealm(
                    "A session of the admin site does not open the API; send an API key."
                )
            return None
        if credential.startswith("sk_"):
            return _by_key(credential)
        if credential.count(".") == _JWT_DOTS and _is_bearer(request):
            return self.by_token(credential, request)
        raise ApiKeyInvalid("This is neither an API key (sk_live_…, sk_test_…) nor a token.")

    def by_token(self, text: str, request: Request | HttpRequest) -> Principal:
        """Return the operator who holds the token, as caller for the tenant that he names."""
        wall = now()
        operator, token = queries.operator_for_token(text, wall=wall)
        name = request.META.get("HTTP_X_TENANT", "")
        if not name and token.tenant_id is not None:
            name = encode("ten", token.tenant_id)
        if not name:
            raise _invalid("X-Tenant", "tenant_required", "Name your tenant by its slug or id.")
        return queries.principal_at(operator, name, _mode(request), wall=wall)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class BearerOfInstallation(Bearer):
    """As ``Bearer``, but an operator acts for no tenant, whichever he names."""

    def by_token(self, text: str, request: Request | HttpRequest) -> Principal:
        wall = now()
        operator, _ = queries.operator_for_token(text, wall=wall)
        return queries.principal_of_installation(operator, wall=wall)


def _by_key(secret: str) -> Principal:
    wall = now()
    key = queries.api_key_for(secret, wall=wall)
    with tenant_scope(key.tenant_id):
        operations.mark_key_used(key, wall=wall)
    return queries.principal_of(key, wall=wall)


def _refuse_key_in_url(request: Request | HttpRequest) -> None:
    url = f"{request.META.get('PATH_INFO', '')}?{request.META.get('QUERY_STRING', '')}"
    if "sk_" not in url and "%" not in url:
        return
    found = secrets.find_in(unquote_plus(url))
    if found is None:
        return
    operations.flag_exposed_key(found, at=now())
    raise ApiKeyInUrl(
        "An API key does not belong in a URL, which logs keep. Rotate this key, and send it in"
        " the Authorization header."
    )


def _credential(request: Request | HttpRequest) -> str | None:
    authorization = request.META.get("HTTP_AUTHORIZATION")
    api_key = request.META.get("HTTP_X_API_KEY")
    if authorization and api_key:
        raise _invalid("X-API-Key", "credential_repeated", "Send one credential, not two.")
    if api_key:
        return str(api_key).strip()
    if not authorization:
        return None
    scheme, _, rest = str(authorization).partition(" ")
    rest = rest.strip()
    if "," in rest:
        raise _invalid("Authorization", "credential_repeated", "Send one Authorization header.")
    if scheme.lower() == "bearer":
        return rest
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    raise ApiKeyInvalid("Send Authorization: Bearer sk_live_…, or Basic with the key as user name.")


def _is_bearer(request: Request | HttpRequest) -> bool:
    return str(request.META.get("HTTP_AUTHORIZATION", "")).lower().startswith("bearer ")


def _mode(request: Request | HttpRequest) -> Mode | None:
    text = request.META.get("HTTP_X_MODE")
    if not text:
        return None
    if text not in list(Mode):
        raise _invalid("X-Mode", "mode_unknown", "X-Mode is live or test.")
    return Mode(text)


def _invalid(header: str, code: str, detail: str) -> HeaderInvalid:
    return HeaderInvalid(errors=[FieldError(header, code, detail)])


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI schema names the ways to authenticate."""

    target_class = Bearer
    name = ["bearer", "api_key", "basic"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        return [{one: []} for one in self.name]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key (sk_live_…, sk_test_…), or an operator's token with"
                " the headers X-Tenant and X-Mode.",
            },
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            {
                "type": "http",
                "scheme": "basic",
                "description": "The API key as user name, no password.",
            },
        ]


class OperatorScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI schema names an operator without a tenant."""

    target_class = BearerOfInstallation
    name = "operator"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An operator's token without a tenant, or an API key.",
        }


class CountedLogin(ModelBackend):
    """Django's login with a password, where tries are counted as at the API's."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        code: str = "",
        **_: Any,
    ) -> Operator | None:
        """Return the operator, or None if something he gave is wrong or tries are used up."""
        if username is None or password is None:
            return None
        try:
            if request is not None:
                limit_login(client_address(request))
            return log_in(username, password, code=code, at=now())
        except (Unauthenticated, RateLimited):
            return None
