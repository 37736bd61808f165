"""Dynamic samplers and recorders under Lightning."""

from datadiet.integrations.lightning.attach import attach as attach
from datadiet.integrations.lightning.callback import DataDietCallback as DataDietCallback
