"""The best window of a score, found on a validation part and confirmed with fresh seeds."""

from datadiet.tuning.carving import carve_validation
from datadiet.tuning.tuned import Tuned, tune

__all__ = ["Tuned", "carve_validation", "tune"]
