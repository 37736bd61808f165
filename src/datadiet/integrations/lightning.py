"""Dynamic samplers and recorders under Lightning."""

from datadiet.integrations.lightning_attach import attach as attach
from datadiet.integrations.lightning_callback import DataDietCallback as DataDietCallback
