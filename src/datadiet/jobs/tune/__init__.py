"""The best window of a score, found on a validation part and confirmed with fresh seeds."""

from datadiet.jobs.tune.job import Tuned, carve_validation, tune

__all__ = ["Tuned", "carve_validation", "tune"]
