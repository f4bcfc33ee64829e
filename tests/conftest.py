"""Settings of the whole suite."""

import os

from hypothesis import HealthCheck, settings

# A busy machine is no failure: no test here is about time. In CI the same examples are tried each
# time, so that a run can be repeated; at a desk they are new ones.
settings.register_profile("kit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("kit"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "kit")
