"""`gradcheck` and `gradgradcheck`: the tape's gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facula.autograd.backward import grad
from facula.autograd.modes import no_grad


class GradcheckError(RuntimeError):
    """A gradient that finite differences do not confirm."""


def _tensors(x: Any) -> tuple[Any, ...]:
    from facula._tensor.handle import Tensor
    return tuple(t for t in (x if isinstance(x, (tuple, list)) else (x,)) if isinstance(t, Tensor))


def _differentiable(x: Any) -> list[Any]:
    return [t for t in _tensors(x) if t.requires_grad]


def _values(t: Any) -> Any:
    return np.array(t.detach().numpy())


def _numerical(func: Callable[..., Any], inputs: tuple[Any, ...], target: Any, eps: float) -> list[Any]:
    """d outputs / d target by central differences: a matrix (elements of target x elements of output) each."""
    from facula.ops.create.conversion import from_numpy
    start = _values(target)

    def outputs_at(values: Any) -> list[Any]:
        with no_grad():
            target.copy_(from_numpy(values))
        return [_values(o).reshape(-1) for o in _tensors(func(*inputs))]

    rows: list[list[Any]] = []
    steps = [eps] if not np.iscomplexobj(start) else [eps, eps * 1j]
    for k in range(start.size):
        row: list[Any] = []
        for step in steps:
            up, down = start.copy(), start.copy()
            up.reshape(-1)[k] += step
            down.reshape(-1)[k] -= step
            row.append([(a - b) / (2 * eps) for a, b in zip(outputs_at(up), outputs_at(down), strict=False)])
        rows.append(row)
    count = len(outputs_at(start))
    return [np.array([[part[o] for part in row] for row in rows]) for o in range(count)]


def _analytical(output: Any, target: Any) -> Any:
    """The same matrix, by the tape. For complex outputs: a row for 1 and one for 1j as the gradient."""
    from facula.ops.create.conversion import from_numpy
    flat = output.numel()
    seeds = [1.0] if not output.dtype.is_complex else [1.0, 1j]
    columns = []
    for k in range(flat):
        column = []
        for seed in seeds:
            unit = np.zeros(flat, dtype=_values(output).dtype)
            unit[k] = seed
            weight = from_numpy(unit.reshape(tuple(output.shape)))
            found, = grad(output, (target,), weight, retain_graph=True, allow_unused=True)
            column.append(np.zeros(tuple(target.shape), _values(target).dtype).reshape(-1) if found is None
                          else _values(found).reshape(-1))
        columns.append(column)
    return np.array(columns)


def _compare(output: Any, target: Any, numerical: Any, atol: float, rtol: float) -> tuple[bool, Any, Any]:
    tape = _analytical(output, target)  # (outputs, seeds, inputs)
    if not tape.size:
        return True, tape, numerical
    # For L = Re(conj(seed) * out), the gradient is dL/dx + i dL/dy.
    seeds = np.array([1.0, 1j][: tape.shape[1]])
    parts = numerical.transpose(2, 0, 1)  # (outputs, inputs, steps)
    expected = (np.conj(seeds)[None, :, None, None] * parts[:, None]).real
    wanted = expected[..., 0] + (1j * expected[..., 1] if expected.shape[-1] == 2 else 0)
    return bool(np.allclose(tape, wanted, rtol=rtol, atol=atol, equal_nan=True)), tape, wanted


def gradcheck(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
              raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
              check_grad_dtypes: bool = False, check_batched_grad: bool = False,
              check_batched_forward_grad: bool = False, check_forward_ad: bool = False,
              check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None) -> bool:
    """Do the gradients of `func` agree with finite differences? Inputs should be float64.

    Example:
        >>> import facula
        >>> x = facula.tensor([0.5, 2.0], dtype=facula.float64, requires_grad=True)
        >>> facula.autograd.gradcheck(facula.exp, (x,))
        True
    """
    def fail(message: str) -> bool:
        if raise_exception:
            raise GradcheckError(message)
        return False

    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    targets = _differentiable(inputs)
    if not targets:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of them have "
                         "requires_grad=True.")
    from facula.ops.create.conversion import tensor
    outputs = _tensors(func(*inputs))
    if not any(o.requires_grad for o in outputs):
        for target in targets:
            if any(np.abs(m).max(initial=0) > atol for m in _numerical(func, inputs, target, eps)):
                return fail("Numerical gradient for function expected to be zero")
        return True
    for i, target in enumerate(targets):
        numerical = _numerical(func, inputs, target, eps)
        for j, output in enumerate(_tensors(func(*inputs))):
            if not output.requires_grad:
                continue
            good, tape, wanted = _compare(output, target, numerical[j], atol, rtol)
            if not good:
                of_input, of_tape = (tensor(m.reshape(m.shape[0] * m.shape[1], -1).T) for m in (wanted, tape))
                return fail(f"Jacobian mismatch for output {j} with respect to input {i},\nnumerical:{of_input}\n"
                            f"analytical:{of_tape}\n")
            if check_grad_dtypes:
                found, = grad(output, (target,), output.new_ones(output.shape), allow_unused=True)
                if found is not None and found.dtype is not target.dtype:
                    return fail("Gradient has dtype mismatch")
    return True


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6,
                  atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False,
                  raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
                  check_grad_dtypes: bool = False, check_batched_grad: bool = False,
                  check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False,
                  masked: bool = False) -> bool:
    """`gradcheck` of the gradient itself."""
    from facula.ops.random.sampling import randn
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    if grad_outputs is None:
        outputs = _differentiable(func(*inputs))
        grad_outputs = tuple(randn(tuple(o.shape), dtype=o.dtype).requires_grad_() for o in outputs)
    else:
        grad_outputs = tuple(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else (grad_outputs,)
    count = len(grad_outputs)

    def gradient(*args: Any) -> Any:
        own, weights = args[:-count], args[-count:]
        targets = [t for t in _tensors(own) if t.requires_grad]
        found = grad(_differentiable(func(*own)), targets, weights, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradient, inputs + grad_outputs, eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
                     nondet_tol=nondet_tol, check_grad_dtypes=check_grad_dtypes)
