"""The API answers what its OpenAPI schema says, whatever it is sent: no defect, nothing undocumented.

Requests are made from the schema, valid and invalid ones, the same in every run; half of them name
things that are there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
import yaml
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from tests.make.tenants import make_key
from tests.security.calls import CALLS
from tests.security.routes import API
from tests.security.world import World, make_full, places

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.holds("S51", "S57")]

EXAMPLES: Final = 3  # of each operation, valid and invalid each
CHECKS: Final = (
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
)
# would run through the years that it is told to advance by
STRANGERS_ONLY: Final = {"/api/v1/test-clocks/{pk}/advance"}


def names_for(path: str, world: World) -> dict[str, str]:
    """Return the names of things of the tenant for the parameters of a path of the schema."""
    wanted = path.removeprefix(f"/{API}").split("/")
    for call in CALLS:
        parts = call.path.partition("?")[0].split("/")
        if len(parts) == len(wanted) and all(
            one == other or (one[0] == other[0] == "{")
            for one, other in zip(parts, wanted, strict=True)
        ):
            kinds = [one for one in parts if one[0] == "{"]
            own = [one.strip("{}") for one in wanted if one[0] == "{"]
            return {
                name: world.names(places(kind)[0])[0] for name, kind in zip(own, kinds, strict=True)
            }
    return {}


def documented(operation: Any, status: int) -> bool:
    """Say whether the schema names a success of this status; refusals are all problems."""
    return status >= 400 or str(status) in operation.definition.raw["responses"]


def wrong_answers(operation: Any, world: World, key: str) -> list[str]:
    """Return what the operation answered that it should not have."""
    found: list[str] = []
    own = {} if operation.path in STRANGERS_ONLY else names_for(operation.path, world)

    def ask(case: Any, is_own: bool) -> None:  # noqa: FBT001 -- drawn, not passed
        if is_own and own:
            case.path_parameters = own
        response = case.call(headers={"Authorization": f"Bearer {key}"})
        if not documented(operation, response.status_code):
            found.append(f"{operation.label}: {response.status_code} is not in the schema")
        try:
            case.validate_response(response, checks=CHECKS)
        except BaseExceptionGroup as failures:
            asked = f"{case.method} {case.formatted_path} {case.query} {case.body!r}"
            found.extend(
                f"{operation.label}: {response.status_code} {one!r} {response.text[:300]} {asked[:300]}"
                for one in failures.exceptions
            )

    for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
        bounded = bounds(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        strategy = operation.as_strategy(generation_mode=mode)
        try:
            bounded(given(strategy, st.booleans())(ask))()
        except schemathesis.errors.InvalidSchema as error:
            found.append(f"{operation.label}: {error}")
    return found


@pytest.fixture
def _one_connection() -> Iterator[None]:
    """Keep the test's connection open between requests, as Django's own test client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("_one_connection")
def test_every_answer_is_in_the_schema() -> None:
    world = make_full("a")
    key = make_key(world.tenant)
    written = yaml.safe_load((Path(settings.BASE_DIR) / "docs" / "openapi.yaml").read_text())
    schema = schemathesis.openapi.from_dict(written)
    schema.app = get_wsgi_application()
    found, tried = [], 0
    for result in schema.get_all_operations():
        tried += 1
        found += wrong_answers(result.ok(), world, key)  # type: ignore[union-attr]  # else it raises
    assert found == []
    assert tried > 80
