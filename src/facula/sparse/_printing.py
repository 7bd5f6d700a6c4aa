"""The text of a sparse tensor."""

from __future__ import annotations

from typing import Any

from facula import defaults, dtypes, layouts
from facula._tensor import printing
from facula.sparse._tensor import SparseTensor, implements


def _indented(text: str, by: int) -> str:
    return text.replace("\n", "\n" + " " * by)


def _plain(t: Any) -> str:
    """A part's numbers, without its dtype."""
    text = repr(t.detach())
    if not t.numel():
        return f"tensor([], size={tuple(t.shape)})"
    return text.replace(f", dtype={t.dtype}", "")


@implements("__repr__", "__str__")
def text(s: SparseTensor, *, tensor_contents: Any = None) -> str:
    """As PyTorch prints it."""
    coo = s._layout is layouts.sparse_coo
    kind, usual = s.dtype, defaults.get_default_dtype()
    told = [] if kind is usual or kind in (dtypes.int64, dtypes.bool_) and s._v.numel() else [f"dtype={kind}"]
    if s._v.requires_grad:
        grad = s._v.grad_fn
        end = [f"grad_fn=<{grad.name()}>" if grad is not None else "requires_grad=True"]
    else:
        end = []
    if coo:
        parts = [("indices", s._i), ("values", s._v)]
    elif s._layout is layouts.sparse_csr:
        parts = [("crow_indices", s._p), ("col_indices", s._i[1]), ("values", s._v)]
    else:
        parts = [("ccol_indices", s._p), ("row_indices", s._i[0]), ("values", s._v)]
    lines = [_indented(f"{name}={_plain(t)}", 8 + len(name)) for name, t in parts]
    head, size = "tensor(" + ",\n       ".join(lines), f"size={tuple(s.shape)}"
    if coo:  # on a line of its own
        head, size = f"{head},\n       {size}", ""
    return printing._append(head, [*[size] * (not coo), f"nnz={s._v.shape[0]}", *told, f"layout={s._layout}", *end], 7)
