"""What the test harness promises about databases, Redis, sockets and HTTP."""

import socket

import pytest
import redis
import requests
from django.db import connection
from pytest_socket import SocketConnectBlockedError

from tests.servers import as_superuser


def tables_named(name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_tables where tablename = %s", [name])
        (count,) = cursor.fetchone()
    return int(count)


def migrations_recorded() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from django_migrations")
        (count,) = cursor.fetchone()
    return int(count)


@pytest.mark.django_db
@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_writes_is_rolled_back(turn: int) -> None:
    assert tables_named("left_behind") == 0
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute("create table left_behind ()")
    assert tables_named("left_behind") == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_commits_is_gone_even_where_truncate_is_refused(turn: int) -> None:
    assert tables_named("left_behind") == 0
    assert migrations_recorded() > 0
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute("create table left_behind (id int)")
        cursor.execute(
            "create function refuse() returns trigger language plpgsql"
            " as $$ begin raise exception 'append-only'; end $$"
        )
        cursor.execute(
            "create trigger refuse before truncate on left_behind execute function refuse()"
        )


@pytest.mark.parametrize("turn", [1, 2])
def test_redis_is_empty_at_the_start_of_a_test(
    turn: int, servers: object, redis_client: redis.Redis
) -> None:
    assert redis_client.dbsize() == 0
    redis_client.set("left", "behind")


@pytest.mark.filterwarnings("ignore:A test tried to use")
def test_the_internet_is_out_of_reach() -> None:
    with socket.socket() as outside, pytest.raises(SocketConnectBlockedError):
        outside.connect(("192.0.2.1", 80))


def test_the_application_is_served_over_http(served: str) -> None:
    answer = requests.get(f"{served}/health/live", timeout=10)
    assert answer.status_code == 200
