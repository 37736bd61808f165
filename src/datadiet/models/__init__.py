"""Small, named model factories; anything else by "package.module:factory" or a Hugging Face folder."""

from datadiet.models import resnet as resnet
from datadiet.models import small as small
from datadiet.models.context import ModelContext as ModelContext
from datadiet.models.identity import identity_of as identity_of
from datadiet.models.pretrained import check_vocabulary as check_vocabulary
from datadiet.models.registry import DEFAULTS as DEFAULTS
from datadiet.models.registry import MODELS as MODELS
from datadiet.models.registry import ModelCard as ModelCard
from datadiet.models.registry import build_model as build_model
from datadiet.models.registry import check_model as check_model
from datadiet.models.registry import check_size as check_size
from datadiet.models.registry import is_pretrained as is_pretrained
from datadiet.models.registry import model as model
