"""The papers' experiments on anybody's data, with claims that can fail."""

# Importing a file registers its study; the order here is that of the list.
# isort: off
from datadiet.studies import score_epoch as score_epoch
from datadiet.studies import keep_fraction as keep_fraction

# isort: on
from datadiet.studies.base import Study, StudyResult, open_bench, plan_of, run_study, studies, study_named
from datadiet.studies.claims import Claim, Finding

__all__ = [
    "Claim",
    "Finding",
    "Study",
    "StudyResult",
    "open_bench",
    "plan_of",
    "run_study",
    "studies",
    "study_named",
]
