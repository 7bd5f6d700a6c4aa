"""Attributes of modules as attributes of nodes, for lowering to other programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula import nn
from facula.fx._compatibility import compatibility
from facula.fx.graph_module import GraphModule

__all__ = ["default_matching", "extract_attrs_for_lowering", "lift_lowering_attrs_to_nodes"]


@compatibility(is_backward_compatible=False)
def default_matching(name: str, target_version: int) -> str:
    """The name itself."""
    return name


# Of which classes what is fetched, for which version of their state, and under what names.
module_fetch_book: dict[type, tuple[int, list[str], Callable[[str, int], str]]] = {
    nn.Linear: (1, ["weight", "bias"], default_matching),
    nn.Conv2d: (1, ["weight", "bias", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"],
                default_matching),
    nn.BatchNorm2d: (2, ["weight", "bias", "running_mean", "running_var", "eps"], default_matching),
    nn.AdaptiveAvgPool2d: (1, [], default_matching),
    nn.MaxPool2d: (1, ["kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"],
                   default_matching),
    nn.ReLU: (1, ["inplace"], default_matching),
}


@compatibility(is_backward_compatible=False)
def extract_attrs_for_lowering(mod: nn.Module) -> dict[str, Any]:
    """The attributes of a module of a class in `module_fetch_book`, and its name."""
    found: dict[str, Any] = {"name": f"{type(mod).__module__}.{type(mod).__name__}".replace("facula", "torch", 1)}
    if type(mod) in module_fetch_book:
        version, names, match = module_fetch_book[type(mod)]
        if version < mod._version:
            raise RuntimeError(f"Fetcher version {version} try to fetch {found['name']} version {mod._version}, please "
                               "upgrade the module_fetch_book, open an issue and @842974287 or report a bug to AIACC "
                               "team directly.")
        for name in names:
            found[name] = getattr(mod, match(name, mod._version))
    return found


@compatibility(is_backward_compatible=False)
def lift_lowering_attrs_to_nodes(fx_module: GraphModule) -> None:
    """Each node that calls such a module gets what is fetched of it as `attrs_for_lowering`."""
    modules = dict(fx_module.named_modules())
    for node in fx_module.graph.nodes:
        if node.op == "call_module":
            module = modules[node.target]
            if isinstance(module, GraphModule):
                lift_lowering_attrs_to_nodes(module)
            else:
                node.attrs_for_lowering = extract_attrs_for_lowering(module)
