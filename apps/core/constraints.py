"""Which rule of the database a write broke."""

from django.db import IntegrityError


def broken(error: IntegrityError) -> str:
    """Return the name of the constraint, or "" if PostgreSQL named none."""
    diagnostic = getattr(error.__cause__, "diag", None)
    return getattr(diagnostic, "constraint_name", None) or ""
