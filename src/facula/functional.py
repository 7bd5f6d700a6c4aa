"""Those functions of `torch` that PyTorch has written in Python, by the name of their file: `torch.functional.norm`."""

from facula.ops.registry import FUNCTIONS as _FUNCTIONS

globals().update({name: _FUNCTIONS[name] for name in (
    "atleast_1d", "atleast_2d", "atleast_3d", "align_tensors", "broadcast_shapes", "broadcast_tensors",
    "cartesian_prod", "block_diag", "cdist", "chain_matmul", "einsum", "istft", "lu", "norm", "meshgrid", "split",
    "stft", "tensordot", "unique", "unique_consecutive", "unravel_index") if name in _FUNCTIONS})
