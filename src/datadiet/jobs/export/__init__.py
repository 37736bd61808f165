"""A smaller data set out of a larger one: the source's own format or another, with a manifest."""

# Importing a file registers its formats; the order here is that of the list.
# isort: off
from datadiet.jobs.export import image_folder as image_folder
from datadiet.jobs.export import arrow_files as arrow_files
from datadiet.jobs.export import text_files as text_files
from datadiet.jobs.export import webdataset as webdataset
from datadiet.jobs.export import other_tools as other_tools

# isort: on
from datadiet.jobs.export.formats import FORMATS, FormatCard, export_format
from datadiet.jobs.export.job import Exported, export

__all__ = ["FORMATS", "Exported", "FormatCard", "export", "export_format"]
