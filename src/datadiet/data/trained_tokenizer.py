"""A WordPiece tokenizer trained on the texts of a part, for models that bring none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from datadiet.data.columns import chunks_of, one_array
from datadiet.data.examples import Part
from datadiet.data.words import texts_of_words
from datadiet.errors import BadInputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def trained_tokenizer(part: Part, *, vocabulary_size: int = 8000, lowercase: bool = True) -> Any:
    """A `transformers.PreTrainedTokenizerFast` with the word pieces of the texts of a part.

    Texts are normalised and split as for BERT (Devlin et al. 2019). The same texts, in whatever order, give
    the same vocabulary, in every process and on every machine.

    Args:
        part: the training part; no other text may enter.
        vocabulary_size: pieces at most, special tokens included; few texts give fewer.
        lowercase: take capital and small letters, and letters with and without accents, as the same.

    Raises:
        BadInputError: the part holds no texts, the size is too small, or `transformers` is missing.

    >>> import datadiet.data
    >>> texts = ["to new york", "to rome", "from new york", "rome"]
    >>> examples = datadiet.data.load((texts, [0, 0, 1, 1]), test_fraction=0.5)
    >>> tokenizer = trained_tokenizer(examples.train, vocabulary_size=60)
    >>> tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"])
    ['[CLS]', '[SEP]']
    """
    if part.kind != "text":
        raise BadInputError(f"A tokenizer is trained on texts, not on examples of the kind '{part.kind}'.")
    try:
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise BadInputError(
            "Tokenizers need transformers; install it with: pip install 'datadiet[transformers]'."
        ) from error
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    splitter = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for column in part.input_columns:
        for _, table in chunks_of(part.dataset, [column]):
            for text in texts_of_words(one_array(table, column).to_pylist()):
                words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    vocabulary = _word_pieces(words, vocabulary_size)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _word_pieces(words: Counter[str], vocabulary_size: int) -> dict[str, int]:
    """Pieces and their ids from how often each word is there."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    letters = sorted({letter for word in words for letter in word})
    # The trainer numbers letters in the order of a hash table, which differs from process to process, and
    # breaks ties by these numbers. Given as special tokens, they are numbered as they stand here.
    first = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    if vocabulary_size < len(first):
        raise BadInputError(
            f"vocabulary_size is {vocabulary_size}, but these texts have {len(letters)} different letters; give "
            f"at least {len(first)}."
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=first, show_progress=False, min_frequency=2
    )
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(_repeated(words), trainer)
    found = tokenizer.get_vocab(with_added_tokens=False)
    ordered = sorted(found, key=lambda piece: found[piece])
    return {piece: index for index, piece in enumerate(ordered)}


def _repeated(words: Counter[str]) -> Iterable[str]:
    """Each word as often as it is there, in the order of code points."""
    for word in sorted(words):
        yield " ".join([word] * words[word])
