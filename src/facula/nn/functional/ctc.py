"""Connectionist temporal classification: the loss of a label sequence without its alignment."""

from __future__ import annotations

from typing import Any

import facula
from facula.ops.registry import functional

_NEVER = -1e30  # the logarithm of an impossible event; infinity would make gradients NaN


def _lengths(given: Any, batch: int, what: str) -> list[int]:
    if isinstance(given, facula.Tensor):
        if given.is_floating_point():
            raise RuntimeError(f"{what} must be integral")
        given = given.reshape(-1).tolist()
    lengths = [int(n) for n in (given if isinstance(given, (list, tuple)) else [given])]
    if len(lengths) != batch:
        raise RuntimeError(f"{what} must be of size batch_size")
    return lengths


def _padded_targets(targets: Any, lengths: list[int]) -> list[list[int]]:
    """Each sample's labels, from (N, S) or all in a row."""
    if targets.dim() == 1:
        if targets.size(0) != sum(lengths):
            raise RuntimeError(f"Expected tensor to have size {sum(lengths)} at dimension 0, but got size "
                               f"{targets.size(0)} for argument #2 'targets' (while checking arguments for "
                               "ctc_loss)")
        flat, rows, start = [0] * sum(lengths) if targets.is_meta else targets.tolist(), [], 0
        for n in lengths:
            rows.append([int(v) for v in flat[start:start + n]])
            start += n
        return rows
    if targets.size(1) < max(lengths, default=0):
        raise RuntimeError(f"Expected tensor to have size at least {max(lengths)} at dimension 1, but got "
                           f"size {targets.size(1)} for argument #2 'targets' (while checking arguments for "
                           "ctc_loss)")
    if targets.is_meta:  # which labels they are makes no difference to the shape
        return [[0] * n for n in lengths]
    return [[int(v) for v in row[:n]] for row, n in zip(targets.tolist(), lengths, strict=True)]


@functional
def ctc_loss(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False) -> Any:
    """Minus the log-probability of label sequences, summed over their alignments.

    Args:
        log_probs: (T, N, C) or (T, C), the output of `log_softmax`.
        targets: (N, S), or all labels in a row (sum of target_lengths).
        input_lengths, target_lengths: (N).
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its target's length first.
        zero_infinity: count 0 where the input is too short for the target.

    Raises:
        RuntimeError: sizes or lengths do not fit.

    Source: Graves et al., "Connectionist temporal classification", 2006.
    """
    if not log_probs.is_floating_point():
        raise NotImplementedError(f'"ctc_loss_cpu" not implemented for \'{log_probs.type()[6:-6]}\'')
    single = log_probs.dim() == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.dim() == 1 else targets
    steps, batch, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    inputs = _lengths(input_lengths, batch, "input_lengths")
    sizes = _lengths(target_lengths, batch, "target_lengths")
    if max(inputs, default=0) > steps:
        raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value "
                           f"{max(inputs)} (while checking arguments for ctc_loss)")
    for name, given in (("input", inputs), ("target", sizes)):
        if min(given, default=0) < 0:
            raise RuntimeError(f"Expected {name}_lengths to have value at least 0, but got value {min(given)} (while "
                               "checking arguments for ctc_loss)")
    labels = _padded_targets(targets, sizes)
    losses = _losses(log_probs, labels, inputs, blank)

    impossible = losses > -_NEVER / 2
    losses = facula.where(impossible, 0.0 if zero_infinity else float("inf"), losses)
    if reduction == "mean":
        scale = facula.tensor([max(n, 1) for n in sizes], dtype=losses.dtype, device=losses.device)
        return (losses / scale).mean()
    if reduction == "sum":
        return losses.sum()
    if reduction != "none":
        from .._reduction import get_enum
        get_enum(reduction)
    return losses[0] if single else losses


def _losses(log_probs: Any, labels: list[list[int]], inputs: list[int], blank: int) -> Any:
    """The forward recursion over (label, blank, label, ...) of all samples at once."""
    batch, device = log_probs.size(1), log_probs.device
    width = 2 * max(map(len, labels), default=0) + 1
    states, jumps = [], []  # the class of each state; where a blank between two labels may be left out
    for row in labels:
        line = [blank] * width
        line[1:2 * len(row) + 1:2] = row
        states.append(line)
        jumps.append([s > 1 and line[s] != blank and line[s] != line[s - 2] for s in range(width)])
    index = facula.tensor(states, dtype=facula.int64, device=device)
    jump = facula.tensor(jumps, dtype=facula.bool, device=device)
    running = facula.arange(log_probs.size(0), device=device).unsqueeze(1) < facula.tensor(inputs,
                                                                                           device=device)

    def emitted(t: int) -> Any:
        return log_probs[t].gather(1, index)

    never = facula.full((batch, 2), _NEVER, dtype=log_probs.dtype, device=device)
    first = facula.tensor([[s == 0 or (s == 1 and len(row) > 0) for s in range(width)] for row in labels],
                          device=device)
    alpha = facula.where(first, emitted(0), _NEVER)
    for t in range(1, max(inputs, default=0)):
        shifted = facula.cat([never, alpha], 1)
        stay, step, skip = alpha, shifted[:, 1:-1], facula.where(jump, shifted[:, :-2], _NEVER)
        arrived = facula.logsumexp(facula.stack([stay, step, skip]), 0)
        alpha = facula.where(running[t].unsqueeze(1), (arrived + emitted(t)).clamp(min=_NEVER), alpha)
    ends = facula.tensor([[2 * len(row), max(2 * len(row) - 1, 0)] for row in labels], device=device)
    last = alpha.gather(1, ends)
    only_blank = facula.tensor([[False, len(row) == 0] for row in labels], device=device)
    losses = -facula.logsumexp(facula.where(only_blank, _NEVER, last), 1)
    started = facula.tensor([n > 0 for n in inputs], device=device)
    empty = facula.tensor([0.0 if not row else -_NEVER for row in labels], dtype=losses.dtype, device=device)
    losses = facula.where(started, losses, empty)
    # PyTorch's gradient takes the inputs for outputs of log_softmax and already holds that function's share.
    total = facula.where(running.unsqueeze(2), log_probs.exp(), 0.0).sum((0, 2))
    return losses + (total - total.detach())
