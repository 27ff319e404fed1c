"""Making rows that must not exist, to see that they are found."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from tests.servers import as_superuser


@contextmanager
def unguarded(*tables: str) -> Iterator[None]:
    """Switch the triggers of the tables off for a while, in the test's transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with as_superuser():
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with as_superuser():
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
