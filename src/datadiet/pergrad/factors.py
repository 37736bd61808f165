"""Per-example gradients of one parameter in the forms that layers give them, and the norms of their sums."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from datadiet.foundation.errors import BadInputError

# Larger work is done in slices of the batch.
WORKSPACE_BYTES = 32 * 2**20

# A working buffer of this size stays in a processor's caches.
CACHED_BYTES = 4 * 2**20


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Products are accumulated in float32, or in float64 for float64 models; complex numbers stay what they are."""
    return dtype if dtype == torch.float64 or dtype.is_complex else torch.float32


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in the dtype in which norms are accumulated."""
    return tensor.to(compute_dtype(tensor.dtype))


def example_slices(batch: int, bytes_per_example: int, workspace: int = WORKSPACE_BYTES) -> list[slice]:
    """Slices of the batch whose working buffers fit in the workspace."""
    step = max(1, min(batch, workspace // max(1, bytes_per_example)))
    return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]


class Factor:
    """The gradients of one parameter for every example of a batch, in full or not.

    Args:
        tensors: what this form keeps alive; the first has the examples in dimension 0.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        self.tensors = tensors

    @property
    def batch(self) -> int:
        """Number of examples."""
        return len(self.tensors[0])

    @property
    def nbytes(self) -> int:
        """Bytes that this form keeps alive."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def squared_norm(self) -> torch.Tensor:
        """Squared L2 norm for each example, shape (batch,)."""
        raise NotImplementedError

    def dense(self, examples: slice) -> torch.Tensor:
        """The gradients of some examples in full, shape (examples, *parameter shape)."""
        raise NotImplementedError


class Dense(Factor):
    """Gradients in full: `values` has shape (batch, *parameter shape)."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__(values)
        self.values = values

    def squared_norm(self) -> torch.Tensor:
        if self.values.numel() == 0:
            return self.values.new_zeros(self.batch)
        return self.values.reshape(self.batch, -1).square().sum(1)

    def dense(self, examples: slice) -> torch.Tensor:
        return self.values[examples]


class Gram:
    """The Gram matrices of the tokens of one tensor, made once for all maps that read it: query, key and value.

    Args:
        mark: of the batch that it belongs to; a tensor that outlives its batch gets another one.
    """

    def __init__(self, mark: object) -> None:
        self.mark = mark
        #: Maps that have not asked yet; after the last one nothing is held.
        self.readers = 0
        self._values: torch.Tensor | None = None

    def of(self, tokens: torch.Tensor) -> torch.Tensor:
        """Shape (batch, T, T), of tokens (batch, T, features)."""
        values = torch.bmm(tokens, tokens.mT) if self._values is None else self._values
        self.readers -= 1
        self._values = values if self.readers > 0 else None
        return values


class LowRank(Factor):
    """Sums of outer products, `G_b = Σ_t left[b, t] right[b, t]ᵀ`: left (batch, T, p), right (batch, T, d).

    The norm is `|leftᵀ right|²`, or, cheaper when T is small, the inner product of two T × T Gram matrices; that
    of `right` may be shared with other sums.
    """

    def __init__(self, left: torch.Tensor, right: torch.Tensor, gram: Gram | None = None) -> None:
        self.left, self.right = widened(left), widened(right)
        super().__init__(self.left, self.right)
        self._gram = gram

    def squared_norm(self) -> torch.Tensor:
        batch, tokens, p = self.left.shape
        d = self.right.shape[2]
        if tokens == 1:
            return self.left.square().sum((1, 2)) * self.right.square().sum((1, 2))
        size = self.left.element_size()
        norms = []
        if tokens * (p + d) <= p * d:
            parts = example_slices(batch, 2 * tokens * tokens * size)
            shared = self._gram if len(parts) == 1 else None
            for part in parts:
                left, right = self.left[part], self.right[part]
                gram = torch.bmm(right, right.mT) if shared is None else shared.of(right)
                norms.append(_inner(torch.bmm(left, left.mT), gram))
        else:
            for part in example_slices(batch, p * d * size):
                norms.append(self.dense(part).square().sum((1, 2)))
        return torch.cat(norms)

    def dense(self, examples: slice) -> torch.Tensor:
        return torch.bmm(self.left[examples].mT, self.right[examples])


class Rows(Factor):
    """Rows added at indices, `G_b[indices[b, t]] += values[b, t]`; shapes (batch, T) and (batch, T, d)."""

    def __init__(self, indices: torch.Tensor, values: torch.Tensor, num_rows: int) -> None:
        self.indices, self.values = indices.long(), widened(values)
        super().__init__(self.indices, self.values)
        self.num_rows = num_rows

    def squared_norm(self) -> torch.Tensor:
        batch, _, width = self.values.shape
        example = torch.arange(batch, device=self.indices.device).unsqueeze(1)
        keys, where = torch.unique(example * self.num_rows + self.indices, return_inverse=True)
        sums = self.values.new_zeros(len(keys), width)
        sums.index_add_(0, where.reshape(-1), self.values.reshape(-1, width))
        owner = torch.div(keys, self.num_rows, rounding_mode="floor")
        return self.values.new_zeros(batch).index_add_(0, owner, sums.square().sum(1))

    def dense(self, examples: slice) -> torch.Tensor:
        indices, values = self.indices[examples], self.values[examples]
        count, _, width = values.shape
        example = torch.arange(count, device=indices.device).unsqueeze(1)
        rows = values.new_zeros(count * self.num_rows, width)
        rows.index_add_(0, (example * self.num_rows + indices).reshape(-1), values.reshape(-1, width))
        return rows.view(count, self.num_rows, width)

    def inner(self, other: LowRank) -> torch.Tensor:
        """`Σ_{t,s} (values_t · right_s) left_s[indices_t]` for each example: tied weights' cross term."""
        batch, tokens, _ = self.values.shape
        picked = other.left.gather(2, self.indices.unsqueeze(1).expand(batch, other.left.shape[1], tokens))
        return _inner(picked, torch.bmm(other.right, self.values.mT))


class SquaredNorm(Factor):
    """Only the squared norms, shape (batch,): for rules of layers whose parameters are used nowhere else."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = widened(values)
        super().__init__(self.values)

    def squared_norm(self) -> torch.Tensor:
        return self.values

    def dense(self, examples: slice) -> torch.Tensor:
        raise BadInputError(
            "A rule returned SquaredNorm for a parameter that is used more than once, whose cross terms need "
            "the gradients themselves: return a tensor of shape (batch, *parameter shape) or LowRank instead."
        )


def _inner(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Inner product of each pair of matrices, shape (batch,)."""
    return (first * second).sum((1, 2))


def joined(products: Sequence[LowRank]) -> LowRank:
    """Sums of outer products of the same parameter as one sum."""
    if len(products) == 1:
        return products[0]
    return LowRank(torch.cat([f.left for f in products], 1), torch.cat([f.right for f in products], 1))


def squared_norm_of_sum(factors: Sequence[Factor], parameter_numel: int) -> torch.Tensor:
    """Squared norm of the sum of several gradients of the same parameter, cross terms included."""
    if len(factors) == 1:
        return factors[0].squared_norm()
    products = [f for f in factors if isinstance(f, LowRank)]
    rows = [f for f in factors if isinstance(f, Rows)]
    if len(products) + len(rows) < len(factors):
        return squared_norm_of_dense_sum(factors, parameter_numel)
    if not rows:
        return joined(products).squared_norm()
    lookup = Rows(
        torch.cat([r.indices for r in rows], 1), torch.cat([r.values for r in rows], 1), rows[0].num_rows
    )
    total = lookup.squared_norm()
    if products:
        product = joined(products)
        total = total + product.squared_norm()
        total = total + 2.0 * lookup.inner(product)
    return total


def squared_norm_of_dense_sum(factors: Sequence[Factor], parameter_numel: int) -> torch.Tensor:
    """The same from the summed gradients in full, a few examples at a time."""
    norms = []
    for part in example_slices(factors[0].batch, parameter_numel * 8):
        total = factors[0].dense(part)
        for factor in factors[1:]:
            total = total + factor.dense(part).reshape(total.shape)
        norms.append(total.reshape(len(total), -1).square().sum(1))
    return torch.cat(norms)
