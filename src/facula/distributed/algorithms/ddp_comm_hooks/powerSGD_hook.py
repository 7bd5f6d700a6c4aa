"""PowerSGD: gradients of matrices travel as products of thin ones (Vogels, Karimireddy and Jaggi, 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.distributed.reducer import GradBucket
from facula.distributed.reductions import ReduceOp
from facula.distributed.tensors import array_of, tensor_of
from facula.distributed.world import chosen
from facula.dtypes import float32
from facula.futures import Future

__all__ = ["PowerSGDState", "powerSGD_hook"]


class PowerSGDState:
    """What the hook remembers, and how it works.

    Args:
        process_group: the ranks; the default group unless given.
        matrix_approximation_rank: columns of the thin matrices.
        start_powerSGD_iter: steps before which gradients travel as they are; more than 1 with error feedback or warm
            start.
        min_compression_rate: a matrix that would not shrink by this factor travels as it is.
        use_error_feedback: what was lost is added to the next step's gradient.
        warm_start: begin with the last step's matrices.
        orthogonalization_epsilon: added to norms, so that nothing is divided by 0.
        random_seed: of the first matrices, the same on all ranks.
    """

    def __init__(self, process_group: Any, matrix_approximation_rank: int = 1, start_powerSGD_iter: int = 1000,
                 min_compression_rate: float = 2, use_error_feedback: bool = True, warm_start: bool = True,
                 orthogonalization_epsilon: float = 0, random_seed: int = 0,
                 compression_stats_logging_frequency: int = 10000,
                 batch_tensors_with_same_shape: bool = False) -> None:
        if (use_error_feedback or warm_start) and start_powerSGD_iter <= 1:
            raise ValueError("Expect `start_powerSGD_iter` > 1 if `use_error_feedback` or `warm_start` is enabled, "
                             "because PowerSGD can only be applied after the first two iterations in DDP.")
        self.process_group = process_group
        self.matrix_approximation_rank, self.start_powerSGD_iter = matrix_approximation_rank, start_powerSGD_iter
        self.min_compression_rate, self.use_error_feedback = min_compression_rate, use_error_feedback
        self.warm_start, self.orthogonalization_epsilon = warm_start, orthogonalization_epsilon
        self.rng = np.random.RandomState(random_seed)
        self.iter = 0
        self.error_dict: dict[int, np.ndarray] = {}
        self.q_memory_dict: dict[tuple[int, int], np.ndarray] = {}
        self.total_numel_before_compression = self.total_numel_after_compression = 0

    def compression_stats(self) -> tuple[float, int, int]:
        """(how many times less has travelled, elements before, elements after)."""
        after = self.total_numel_after_compression
        return self.total_numel_before_compression / after if after else 0.0, self.total_numel_before_compression, after


def _mean(group: Any, array: np.ndarray, what: str) -> np.ndarray:
    box: list[np.ndarray] = []
    flat = np.ascontiguousarray(array, np.float32).reshape(-1) / np.float32(group.size())
    group._call(f"PowerSGD: {what}, {flat.size} elements",
                lambda call: group._backend.all_reduce(call, flat, ReduceOp.SUM, float32), box.append)
    return box[0].reshape(array.shape)


def _orthogonal(matrix: np.ndarray, epsilon: float) -> np.ndarray:
    """Columns made orthonormal, one after the other; those that are none stay zero."""
    result = np.array(matrix, np.float32)
    for k in range(result.shape[1]):
        for before in range(k):
            result[:, k] -= np.dot(result[:, before], result[:, k]) * result[:, before]
        norm = float(np.linalg.norm(result[:, k])) + epsilon
        result[:, k] = result[:, k] / norm if norm > 0 else 0
    return result


def powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Future:
    """The mean of the ranks' gradients, of those that are matrices an approximation of low rank.

    What travels is computed and awaited within the hook. NotImplementedError for gradients other than float32.
    """
    if bucket.buffer().dtype is not float32:
        raise NotImplementedError("powerSGD_hook takes float32 gradients, got " + str(bucket.buffer().dtype))
    group, k = chosen(state.process_group), bucket.index()
    flat = np.array(array_of(bucket.buffer()))
    done: Future = Future()
    if state.iter < state.start_powerSGD_iter:
        result = _mean(group, flat, f"bucket {k} as it is")
    else:
        result = _approximated(state, group, bucket, flat)
    if bucket.is_last():
        state.iter += 1
    done.set_result(tensor_of(result, float32))
    return done


def _approximated(state: PowerSGDState, group: Any, bucket: GradBucket, flat: np.ndarray) -> np.ndarray:
    k = bucket.index()
    if state.use_error_feedback and k in state.error_dict:
        flat = flat + state.error_dict[k]
    given, place = np.array(flat), 0
    thin, plain = [], []
    for number, parameter in enumerate(bucket.parameters()):
        count = parameter.numel()
        rows = parameter.shape[0] if parameter.dim() > 1 else 1
        columns = count // rows if rows else 0
        rank = min(state.matrix_approximation_rank, rows, columns)
        where = slice(place, place + count)
        place += count
        if parameter.dim() > 1 and rank and (rows + columns) * rank * state.min_compression_rate < count:
            thin.append((number, where, rows, columns, rank))
        else:
            plain.append(where)
        state.total_numel_before_compression += count
        state.total_numel_after_compression += (rows + columns) * rank if thin and thin[-1][0] == number else count
    if plain:
        joined = _mean(group, np.concatenate([flat[w] for w in plain]), "vectors")
        at = 0
        for where in plain:
            size = where.stop - where.start
            flat[where], at = joined[at:at + size], at + size
    matrices = [flat[where].reshape(rows, columns) for _, where, rows, columns, _ in thin]
    qs = []
    for number, _, _, columns, rank in thin:
        q = state.q_memory_dict.get((k, number)) if state.warm_start else None
        qs.append(_orthogonal(state.rng.randn(columns, rank) if q is None else q, state.orthogonalization_epsilon))
    ps = _together(group, [m @ q for m, q in zip(matrices, qs, strict=True)], "left factors")
    ps = [_orthogonal(p, state.orthogonalization_epsilon) for p in ps]
    qs = _together(group, [m.T @ p for m, p in zip(matrices, ps, strict=True)], "right factors")
    for (number, where, *_), p, q in zip(thin, ps, qs, strict=True):
        state.q_memory_dict[k, number] = q
        flat[where] = (p @ q.T).reshape(-1)
    if state.use_error_feedback:
        error = given - flat
        for where in plain:
            error[where] = 0
        state.error_dict[k] = error
    return flat


def _together(group: Any, arrays: list[np.ndarray], what: str) -> list[np.ndarray]:
    """The means of several arrays, as one."""
    if not arrays:
        return []
    joined = _mean(group, np.concatenate([a.reshape(-1) for a in arrays]), what)
    found, place = [], 0
    for a in arrays:
        found.append(joined[place:place + a.size].reshape(a.shape))
        place += a.size
    return found
