"""The older spectral normalization: a hook computes the weight before each forward pass. Newer programs take
`nn.utils.parametrizations.spectral_norm`."""

from __future__ import annotations

from typing import Any

import facula
import facula.nn.functional as F
from facula._tensor.handle import Tensor
from facula.nn.modules.module import Module
from facula.nn.parameter import Parameter, UninitializedParameter
from facula.nn.utils._norms import weight_matrix

__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]

_VERSION = 1  # of the state, as PyTorch counts it: since 1 the vector v is in the file


class SpectralNorm:
    """The hook: `module.<name>` is made of `<name>_orig` and the vectors `<name>_u`, `<name>_v`."""

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        if n_power_iterations <= 0:
            raise ValueError("Expected n_power_iterations to be positive, but got "
                             f"n_power_iterations={n_power_iterations}")
        self.name, self.dim, self.eps = name, dim, eps
        self.n_power_iterations = n_power_iterations

    def reshape_weight_to_matrix(self, weight: Tensor) -> Tensor:
        return weight_matrix(weight, self.dim)

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Any:
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        matrix = weight_matrix(weight, self.dim)
        if do_power_iteration:
            with facula.no_grad():
                for _ in range(self.n_power_iterations):  # v first, which is the other way round than newer programs
                    v.copy_(F.normalize(facula.mv(matrix.t(), u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(facula.mv(matrix, v), dim=0, eps=self.eps))
        return weight / facula.dot(u.clone(), facula.mv(matrix, v.clone()))

    def remove(self, module: Module) -> None:
        with facula.no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        delattr(module, self.name)
        for part in ("_u", "_v", "_orig"):
            delattr(module, self.name + part)
        module.register_parameter(self.name, Parameter(weight.detach()))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))

    @staticmethod
    def apply(module: Module, name: str, n_power_iterations: int, dim: int, eps: float) -> SpectralNorm:
        if any(isinstance(hook, SpectralNorm) and hook.name == name for hook in module._forward_pre_hooks.values()):
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
        hook = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        if isinstance(weight, UninitializedParameter):
            raise ValueError("The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure to "
                             "run the dummy forward before applying spectral normalization")
        with facula.no_grad():
            matrix = weight_matrix(weight, dim)
            h, w = matrix.size()
            u = F.normalize(weight.new_empty(h).normal_(0, 1), dim=0, eps=eps)
            v = F.normalize(weight.new_empty(w).normal_(0, 1), dim=0, eps=eps)
        del module._parameters[name]
        module.register_parameter(name + "_orig", weight)
        setattr(module, name, weight.data)  # as no parameter: initializers still find it
        module.register_buffer(name + "_u", u)
        module.register_buffer(name + "_v", v)
        module.register_forward_pre_hook(hook)
        module._register_state_dict_hook(_Saving(hook))
        module._register_load_state_dict_pre_hook(_Loading(hook))
        return hook


class _Saving:
    """Writes the version of the state into its metadata."""

    def __init__(self, hook: SpectralNorm) -> None:
        self.hook = hook

    def __call__(self, module: Module, state: Any, prefix: str, metadata: dict[str, Any]) -> None:
        versions = metadata.setdefault("spectral_norm", {})
        key = f"{self.hook.name}.version"
        if key in versions:
            raise RuntimeError(f"Unexpected key in metadata['spectral_norm']: {key}")
        versions[key] = _VERSION


class _Loading:
    """Files from before there were versions have no v: it is solved for, so that the weight comes out as it was."""

    def __init__(self, hook: SpectralNorm) -> None:
        self.hook = hook

    def __call__(self, state: dict[str, Any], prefix: str, metadata: dict[str, Any], strict: bool, missing: Any,
                 unexpected: Any, errors: Any) -> None:
        hook = self.hook
        if metadata.get("spectral_norm", {}).get(f"{hook.name}.version") is not None:
            return
        key = prefix + hook.name
        needed = [key + part for part in ("_orig", "_u") if key + part not in state]
        if key + "_v" in state and not needed or not any(key + part in state for part in ("_orig", "", "_u")):
            return
        if needed or key not in state:
            if strict:
                errors.append(f"spectral_norm of {key}: a file without a version must have {key}_orig, {key}_u and "
                              f"{key}")
            return
        with facula.no_grad():
            original, weight, u = state[key + "_orig"], state.pop(key), state[key + "_u"]
            sigma = (original / weight).mean()
            matrix = weight_matrix(original, hook.dim)
            inverse = facula.linalg.pinv(matrix.t() @ matrix)
            v = facula.linalg.multi_dot([inverse, matrix.t(), u.unsqueeze(1)]).squeeze(1)
            state[key + "_v"] = v * (sigma / facula.dot(u, facula.mv(matrix, v)))


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
                  dim: int | None = None) -> Module:
    """Divide a parameter, seen as a matrix, by its largest singular value.

    Args:
        module: whose parameter it is.
        name: of the parameter.
        n_power_iterations: by which the value is estimated before each forward pass in training mode.
        eps: what vectors' lengths are at least.
        dim: of the outputs. Default: 0, but 1 for transposed convolutions.

    Raises:
        RuntimeError: if the parameter is normalized already.
        ValueError: if `n_power_iterations` is not positive.

    Example:
        >>> import facula.nn as nn
        >>> nn.utils.spectral_norm(nn.Linear(20, 40)).weight_u.shape
        torch.Size([40])
    """
    if dim is None:
        transposed = facula.nn.ConvTranspose1d, facula.nn.ConvTranspose2d, facula.nn.ConvTranspose3d
        dim = 1 if isinstance(module, transposed) else 0
    SpectralNorm.apply(module, name, n_power_iterations, dim, eps)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make a parameter of what `spectral_norm` computes. ValueError if it is not there."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            break
    else:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    for hooks, kind in ((module._state_dict_hooks, _Saving), (module._load_state_dict_pre_hooks, _Loading)):
        for key, found in list(hooks.items()):
            found = found if isinstance(found, kind) else getattr(found, "hook", None)
            if isinstance(found, kind) and found.hook.name == name:
                del hooks[key]
    return module
