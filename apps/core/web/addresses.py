"""Where a request comes from, as far as that can be believed."""

from typing import Any

from django.conf import settings


def client_address(request: Any) -> str:
    """Return the address of whoever sent the request; "" if nobody knows.

    ``X-Forwarded-For`` counts only as far as proxies of ours (``TRUSTED_PROXIES`` of them) have
    written it: what stands before was sent by the client and may be anything.
    """
    ours = settings.TRUSTED_PROXIES
    header = request.META.get("HTTP_X_FORWARDED_FOR", "")
    forwarded = [one.strip() for one in header.split(",") if one.strip()]
    if ours and len(forwarded) >= ours:
        return str(forwarded[-ours])
    return str(request.META.get("REMOTE_ADDR", ""))
