"""Whether a model of texts has an embedding for every token that its tokenizer gives."""

from __future__ import annotations

from torch import nn

from datadiet.errors import BadInputError


def check_vocabulary(model: nn.Module, tokenizer_size: int) -> None:
    """Raise where a tokenizer gives ids that a model has no embedding for; models without a table of tokens pass.

    A table with more rows than the tokenizer has tokens is common (rounded up for speed) and fits.

    Args:
        model: any module; the first one inside that says its input embeddings, as those of `transformers` do,
            decides.
        tokenizer_size: number of token ids, added ones included: `len(tokenizer)`.

    Raises:
        BadInputError: the table of embeddings is smaller than the tokenizer.

    Example:
        >>> check_vocabulary(nn.Linear(2, 2), 30_000)
    """
    rows = _embedding_rows(model)
    if rows is not None and tokenizer_size > rows:
        raise BadInputError(
            f"The model has embeddings for {rows} tokens and the tokenizer gives {tokenizer_size}: that is a "
            "tokenizer that does not match the model; give a folder that holds both as they were trained together."
        )


def _embedding_rows(model: nn.Module) -> int | None:
    for module in model.modules():
        ask = getattr(module, "get_input_embeddings", None)
        if not callable(ask):
            continue
        try:
            table = ask()
        except NotImplementedError:
            continue
        if isinstance(table, nn.Embedding):
            return table.num_embeddings
    return None
