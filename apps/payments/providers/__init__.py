"""Those who move money for us, each behind the same interface."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from apps.payments.domain import ProviderUnknown
from apps.payments.providers.external import External
from apps.payments.providers.interface import Provider
from apps.payments.providers.sandbox import Sandbox

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {provider.name: provider for provider in (External(), Sandbox())}
)


def provider_named(name: str) -> Provider:
    """Return the provider; raise ``ProviderUnknown`` if there is none of this name."""
    try:
        return PROVIDERS[name]
    except KeyError:
        raise ProviderUnknown(
            f"There is no provider {name[:64]!r}; known are {', '.join(sorted(PROVIDERS))}.",
            field="provider",
        ) from None
