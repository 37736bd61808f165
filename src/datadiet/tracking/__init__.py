"""What a training run saw of each example: the recorder while it trains, the trace on disk."""

from datadiet.tracking.recorder import Recorder
from datadiet.tracking.trace import Trace, scores_from_trace, table_from_trace

__all__ = ["Recorder", "Trace", "scores_from_trace", "table_from_trace"]
