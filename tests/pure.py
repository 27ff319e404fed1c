"""For runs of tests that need no server and no Django: a pytest plugin in the place of ``conftest``.

``mutmut`` runs the tests of arithmetic thousands of times, so each property tries few examples.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "pure",
    database=None,
    deadline=None,  # mutants may be slow; they are ended from outside
    derandomize=True,  # the same mutant gets the same verdict
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "25")),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("pure")
