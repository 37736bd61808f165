"""What is taken where none is named; here, so that the command line knows it without loading what it names."""

#: The score, once an epoch is whole: EL2N over the training pass.
DEFAULT_SCORE = "mean_el2n"
#: The score of a checkpoint before.
DEFAULT_AT_A_CHECKPOINT = "el2n"
#: The rule that chooses by it.
DEFAULT_RULE = "auto"
