"""Fixtures of the fault harness."""

import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.faults.cluster import Cluster
from tests.faults.company import Company
from tests.faults.forker import Forker
from tests.faults.sweeping import Sweep
from tests.servers import TestServers


@pytest.fixture(scope="session")
def forker(servers: TestServers) -> Iterator[Forker]:
    """The program whose children may be killed."""
    made = Forker()
    yield made
    made.close()


@pytest.fixture(scope="session")
def sweep(servers: TestServers, forker: Forker, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The crash sweep, with the history without a crash already told."""
    return Sweep(servers, forker, tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="session")
def processes(servers: TestServers) -> Iterator[Cluster]:
    """An installation of real processes, for the whole run."""
    if sys.platform != "linux":
        pytest.skip("looks at processes in /proc")
    made = Cluster()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(processes: Cluster, forker: Forker) -> Iterator[Cluster]:
    """The installation with everything running; afterwards its books must be right."""
    processes.mend()
    yield processes
    processes.mend()
    assert forker.call("tests.faults.state:check", processes.database) == []
    processes.rest()


@pytest.fixture
def found(cluster: Cluster, forker: Forker) -> Callable[..., Company]:
    """Makes companies on the installation."""
    return partial(Company, cluster, forker)
