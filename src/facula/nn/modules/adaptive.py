"""A softmax over very many classes, of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import facula
import facula.nn.functional as F

from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _ASMoutput(NamedTuple):
    output: Any
    loss: Any


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of targets among very many classes, sorted: class 0 is the most frequent.

    The classes below `cutoffs[0]` have scores of their own in `head`, as have the clusters of the others; in cluster
    i, scores come of `in_features / div_value ** (i + 1)` numbers. (Grave et al., Efficient softmax approximation for
    GPUs, 2017.)

    Args:
        in_features: the size of an input, whose shape is (N, in_features) or (in_features,).
        n_classes: the number of classes.
        cutoffs: where clusters begin: increasing, between 1 and `n_classes - 1`.
        div_value: by how much clusters are narrower than the one before.
        head_bias: give `head` a bias.

    Raises:
        ValueError: for cutoffs that are no increasing integers in that range, or too large a `div_value`.

    Example:
        >>> import facula
        >>> import facula.nn as nn
        >>> m = nn.AdaptiveLogSoftmaxWithLoss(16, 100, cutoffs=[10, 50])
        >>> out = m(facula.randn(4, 16), facula.tensor([3, 0, 70, 20]))
        >>> out.output.shape, out.loss.shape
        (torch.Size([4]), torch.Size([]))
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
                 head_bias: bool = False, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if cutoffs != sorted(set(cutoffs)) or min(cutoffs) <= 0 or max(cutoffs) > n_classes - 1 \
                or any(int(c) != c for c in cutoffs):
            raise ValueError("cutoffs should be a sequence of unique, positive integers sorted in an increasing order, "
                             "where each value is between 1 and n_classes-1")
        made = {"device": device, "dtype": dtype}
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            narrow = int(in_features // div_value ** (i + 1))
            self.tail.append(Sequential(
                Linear(in_features, narrow, bias=False, **made),
                Linear(narrow, self.cutoffs[i + 1] - self.cutoffs[i], bias=False, **made)))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.head.reset_parameters()
        for narrowing, scoring in self.tail:
            narrowing.reset_parameters()
            scoring.reset_parameters()

    def forward(self, input: Any, target: Any) -> _ASMoutput:
        """Log-probabilities of the targets, (N,) or (), and the mean of their negatives."""
        batched = target.dim() > 0
        if target.dim() == 1:
            if input.shape[0] != target.shape[0]:
                raise RuntimeError("Input and target should have the same size in the batch dimension.")
            if input.dim() != 2:
                raise RuntimeError("1D target tensor expects 2D input tensors, but found inputs with size "
                                   f"{input.size()}")
        elif target.dim() == 0:
            if input.dim() != 1:
                raise RuntimeError("0D target tensor expects 1D input tensors, but found inputs with size "
                                   f"{input.size()}")
        else:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if not batched:
            input, target = input.unsqueeze(0), target.unsqueeze(0)
        if target.numel() and (bool((target < 0).any()) or bool((target >= self.n_classes).any())):
            raise RuntimeError(f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                               f"[{target.min().item()}, {target.max().item()}] were found. ")
        column = target
        output = 0.0
        for i in range(self.n_clusters):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            rows = ((target >= low) & (target < high)).nonzero().squeeze(-1)
            if rows.numel():
                inside = F.log_softmax(self.tail[i](input.index_select(0, rows)), dim=1)
                chosen = inside.gather(1, (target.index_select(0, rows) - low).unsqueeze(1)).squeeze(1)
                output = output + input.new_zeros(target.shape).index_copy(0, rows, chosen)
                column = column.index_fill(0, rows, self.shortlist_size + i)
        head = F.log_softmax(self.head(input), dim=1)
        output = output + head.gather(1, column.unsqueeze(1)).squeeze(1)
        loss = (-output).mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _clusters(self, input: Any, head: Any) -> Any:
        scores = F.log_softmax(head, dim=1)
        parts = [scores[:, :self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            inside = F.log_softmax(cluster(input), dim=1)
            parts.append(inside + scores[:, self.shortlist_size + i].unsqueeze(1))
        return facula.cat(parts, dim=1).to(input.dtype)

    def log_prob(self, input: Any) -> Any:
        """Log-probabilities of all classes: (N, n_classes) of an input (N, in_features)."""
        return self._clusters(input, self.head(input))

    def predict(self, input: Any) -> Any:
        """The most probable class of each row: (N,) int64, of an input (N, in_features). A cluster's scores are
        computed only for the rows whose best entry in `head` is not a class of its own."""
        head = self.head(input)
        output = head.argmax(dim=1)
        deeper = output >= self.shortlist_size
        if bool(deeper.any()):
            rows = deeper.nonzero().squeeze(-1)
            some = input.index_select(0, rows)
            output = output.index_copy(0, rows, self._clusters(some, head.index_select(0, rows)).argmax(dim=1))
        return output
