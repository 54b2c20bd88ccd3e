"""One thread per process, and no deadlines: on a busy machine tests are slow, but do not fail."""

import os

# Before torch is imported: with more processes than cores, threads mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

from tests.browser import browser, context, page  # noqa: F401

settings.register_profile(
    "tbmetrics",
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tbmetrics")
