"""Limited-memory BFGS."""

from __future__ import annotations

from typing import Any

import facula

from ._line_search import strong_wolfe
from .optimizer import Optimizer, check_rate

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """A quasi-Newton method that remembers the last `history_size` steps and changes of gradient.

    `step` needs a closure, which it calls several times. One parameter group only.

    Args:
        params: tensors.
        lr: the length of a step.
        max_iter: steps a call.
        max_eval: evaluations of the closure a call (`1.25 * max_iter` by default).
        tolerance_grad: stop when no gradient element is larger.
        tolerance_change: stop when loss or parameters change less.
        line_search_fn: None or "strong_wolfe".

    Source: Nocedal and Wright, "Numerical optimization", algorithms 7.4 and 7.5.
    """

    def __init__(self, params: Any, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
                 line_search_fn: str | None = None) -> None:
        check_rate(lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn})
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    # -- all parameters as one vector -------------------------------------------------------------
    def _gather_flat_grad(self) -> Any:
        pieces = []
        for param in self._params:
            piece = (param.new_zeros(param.numel()) if param.grad is None
                     else (param.grad.to_dense() if param.grad.is_sparse else param.grad).reshape(-1))
            pieces.append(facula.view_as_real(piece).reshape(-1) if piece.is_complex() else piece)
        return facula.cat(pieces)

    def _add_grad(self, step_size: Any, direction: Any) -> None:
        start = 0
        for param in self._params:
            target = facula.view_as_real(param) if param.is_complex() else param
            count = target.numel()
            piece = direction[start:start + count].view_as(target)
            target.add_(piece, alpha=step_size)
            start += count

    def _clone_param(self) -> list[Any]:
        return [param.clone(memory_format=facula.contiguous_format) for param in self._params]

    def _set_param(self, values: list[Any]) -> None:
        for param, value in zip(self._params, values, strict=False):
            param.copy_(value)

    def _directional_evaluate(self, closure: Any, x: list[Any], t: Any, d: Any) -> tuple[float, Any]:
        self._add_grad(t, d)
        loss = float(closure())
        flat_grad = self._gather_flat_grad()
        self._set_param(x)
        return loss, flat_grad

    # -- one call -------------------------------------------------------------------------------
    def step(self, closure: Any = None) -> Any:
        """Up to `max_iter` steps; returns the closure's first loss.

        Args:
            closure: zeroes the gradients, computes loss and gradients, and returns the loss.
        """
        with facula.no_grad():
            return self._step(facula.enable_grad()(closure))

    def _step(self, closure: Any) -> Any:
        group = self.param_groups[0]
        lr = group["lr"].item() if isinstance(group["lr"], facula.Tensor) else group["lr"]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        gradient = self._gather_flat_grad()
        if float(gradient.abs().max()) <= group["tolerance_grad"]:
            return first_loss

        d, t = state.get("d"), state.get("t")
        old_dirs, old_stps, ro = state.get("old_dirs"), state.get("old_stps"), state.get("ro")
        scale, previous = state.get("H_diag"), state.get("prev_flat_grad")
        previous_loss = state.get("prev_loss")
        iterations = 0
        while iterations < group["max_iter"]:
            iterations += 1
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d = gradient.neg()
                old_dirs, old_stps, ro, scale = [], [], [], 1
            else:
                scale = _remember(gradient - previous, d * t, old_dirs, old_stps, ro, scale,
                                  group["history_size"])
                state.setdefault("al",
                                 [None] * group["history_size"])  # PyTorch's scratch space: part of the state
                d = _direction(gradient, old_dirs, old_stps, ro, scale)
            previous = gradient.clone(memory_format=facula.contiguous_format)
            previous_loss = loss
            t = _first_length(gradient) * lr if state["n_iter"] == 1 else lr
            slope = float(gradient.dot(d))
            if slope > -group["tolerance_change"]:
                break

            line_evaluations = 0
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                start = self._clone_param()

                def evaluate(x: Any, t: Any, d: Any) -> Any:
                    return self._directional_evaluate(closure, x, t, d)
                loss, gradient, t, line_evaluations = strong_wolfe(evaluate, start, t, d, loss, gradient,
                                                                   slope)
                self._add_grad(t, d)
                small = float(gradient.abs().max()) <= group["tolerance_grad"]
            else:
                self._add_grad(t, d)
                small = False
                if iterations != group["max_iter"]:
                    with facula.enable_grad():
                        loss = float(closure())
                    gradient = self._gather_flat_grad()
                    small = float(gradient.abs().max()) <= group["tolerance_grad"]
                    line_evaluations = 1
            evaluations += line_evaluations
            state["func_evals"] += line_evaluations

            if (iterations == group["max_iter"] or evaluations >= group["max_eval"] or small
                    or float(d.mul(t).abs().max()) <= group["tolerance_change"]
                    or abs(loss - previous_loss) < group["tolerance_change"]):
                break

        state.update(d=d, t=t, old_dirs=old_dirs, old_stps=old_stps, ro=ro, H_diag=scale,
                     prev_flat_grad=previous, prev_loss=previous_loss)
        return first_loss


def _remember(change: Any, moved: Any, changes: list[Any], moves: list[Any], ro: list[Any], scale: Any,
              history_size: int) -> Any:
    """Add a pair of gradient change and step to the history; the new scale of the first guess."""
    product = change.dot(moved)
    if float(product) <= 1e-10:
        return scale
    if len(changes) == history_size:
        del changes[0], moves[0], ro[0]
    changes.append(change)
    moves.append(moved)
    ro.append(1.0 / product)
    return product / change.dot(change)


def _first_length(gradient: Any) -> float:
    """1, or less where the gradient is large."""
    return min(1.0, float(1.0 / gradient.abs().sum()))


def _direction(gradient: Any, changes: list[Any], moves: list[Any], ro: list[Any], scale: Any) -> Any:
    """The two-loop recursion: minus the approximate inverse Hessian times the gradient."""
    q = gradient.neg()
    factors: list[Any] = [None] * len(changes)
    for i in range(len(changes) - 1, -1, -1):
        factors[i] = moves[i].dot(q) * ro[i]
        q.add_(changes[i], alpha=-factors[i].item())
    d = q * scale
    for i in range(len(changes)):
        d.add_(moves[i], alpha=(factors[i] - changes[i].dot(d) * ro[i]).item())
    return d
