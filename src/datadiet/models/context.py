"""What a factory of models is told about the data, and which tasks want what of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Tasks that want one row of numbers an example: what any model puts out.
ONE_ROW_TASKS = ("classification", "multilabel", "regression")
#: Tasks that want the tags of words: what a model puts out that keeps words apart.
WORD_TASKS = ("intent_slots", "token_classification")


@dataclass(frozen=True)
class ModelContext:
    """What a factory is told about the data.

    Args:
        kind: "image", "text" or "vector".
        num_classes: number of classes.
        input_shape: (channels, height, width) of images, (features,) of vectors, () of texts.
        vocabulary: number of token indices of texts, padding included; 0 otherwise.
        sample: a batch of training inputs as the model will see them, for data-dependent initialisation
            such as whitening; the same for every seed. None where there is none at hand.
        task: "classification", "intent_slots", "token_classification", "multilabel" or "regression".
        num_tags: number of tags of words, where the task has them.
        num_outputs: width of the logits of an example: classes, intents, labels, or 1 for regression;
            `num_classes` unless set.
        padding_token: the token id that texts are padded with; None where there are no tokens.

    Example:
        >>> ModelContext("vector", 3, (5,)).num_outputs, ModelContext("vector", 4, num_outputs=1).num_outputs
        (3, 1)
    """

    kind: str
    num_classes: int
    input_shape: tuple[int, ...] = ()
    vocabulary: int = 0
    sample: Any = field(default=None, compare=False, repr=False)
    task: str = "classification"
    num_tags: int = 0
    num_outputs: int = 0
    padding_token: int | None = None

    def __post_init__(self) -> None:
        if not self.num_outputs:
            object.__setattr__(self, "num_outputs", self.num_classes)
