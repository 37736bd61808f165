"""How far a prediction moved since the example's presentation before, over all classes: what TDDS is made of."""

from __future__ import annotations

import torch

#: The column of a trace that holds it; recorded only where it is asked for.
CHANGE = "tdds_change"
#: Of probabilities under the logarithm, as in the released code of TDDS.
SHIFT = 1e-8


def change_of(now: torch.Tensor, before: torch.Tensor, class_dim: int = 1) -> torch.Tensor:
    """`sum_c |p_c log(p_c / q_c)|`, q the probabilities of the presentation before.

    Args:
        now: probabilities p, (batch, classes).
        before: probabilities q, of the same shape; NaN for an example that was never presented.
        class_dim: 0 where both are (classes, batch).

    Returns:
        (batch,), at least 0; NaN where `before` is.

    Source: Zhang et al., "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS)", CVPR 2024, equation 4;
    logarithms are shifted by 1e-8 as in the released code.

    Example:
        >>> change_of(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]]))
        tensor([0.5493])
    """
    moved = (now + SHIFT).log_().sub_((before + SHIFT).log_())
    return moved.mul_(now).abs_().sum(class_dim)
