"""What holds for all tests: hypothesis measures no time, because the machine may be busy with others."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("orlop", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("orlop")
