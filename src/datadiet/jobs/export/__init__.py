"""A smaller data set out of a larger one: the source's own format or another, with a manifest."""

from datadiet.jobs.export.job import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
