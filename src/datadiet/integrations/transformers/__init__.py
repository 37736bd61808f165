"""The Hugging Face Trainer with example ids: a dynamic sampler, a recorder, or both, resumed with its checkpoints."""

from datadiet.integrations.transformers.trainer import DataDietCallback as DataDietCallback
from datadiet.integrations.transformers.trainer import DataDietTrainer as DataDietTrainer
from datadiet.integrations.transformers.trainer import attach as attach
