"""Hypothesis without deadlines or health checks on speed: on a busy machine tests are slow, not failing."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tbmetrics", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("tbmetrics")
