"""Keeping the results of checking the books."""

from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.backoffice.books import breaches
from apps.backoffice.models import BooksCheck

_DETAILS_KEPT: Final = 100


def store_books_check(tenant_id: UUID, *, at: datetime) -> BooksCheck:
    """Check the tenant's books and keep the result; a repeat keeps another."""
    found = breaches(tenant_id)
    details = [f"{one.rule}: {one.detail}" for one in islice(found, _DETAILS_KEPT)]
    count = len(details) + sum(1 for _ in found)
    with transaction.atomic():
        return BooksCheck.objects.create(
            tenant_id=tenant_id, checked_at=at, breaches=count, details=details
        )
