"""A batch in pieces, a piece for each device, and results put together: what DataParallel consists of."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from facula._tensor.handle import Tensor
from facula.autograd.modes import enable_grad, is_grad_enabled, no_grad
from facula.devices import device as Device
from facula.ops import autocasting
from facula.utils._pytree import tree_flatten, tree_map


def _device(which: Any) -> Device:
    from facula.accelerator import current_accelerator
    if isinstance(which, int):
        kind = current_accelerator()
        if kind is None:
            raise RuntimeError(f"nn.parallel: device {which} was asked for, and this machine has no accelerator")
        return Device(kind.type, which)
    return which if isinstance(which, Device) else Device(which)


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> Any:
    """For each device its share of `inputs`: tensors are cut along `dim`, whatever else is handed to each.

    Returns a tuple of shares of a tensor, else a list of containers; as many as there are pieces.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import scatter
        >>> [part.shape for part in scatter(facula.zeros(5, 2), ["cpu", "cpu"])]
        [torch.Size([3, 2]), torch.Size([2, 2])]
    """
    places = [_device(d) for d in target_gpus]

    def shares(value: Any) -> Any:
        if isinstance(value, Tensor):
            parts = value.chunk(len(places), dim)
            return tuple(part.to(place) for part, place in zip(parts, places, strict=False))
        return None

    leaves, spec = tree_flatten(inputs)
    if spec.is_leaf() and isinstance(inputs, Tensor):
        return shares(inputs)
    cut = [shares(leaf) for leaf in leaves]
    count = min([len(c) for c in cut if c is not None], default=len(places))
    return [spec.unflatten([leaf if c is None else c[k] for leaf, c in zip(leaves, cut, strict=True)])
            for k in range(count)]


def scatter_kwargs(inputs: tuple[Any, ...], kwargs: dict[str, Any] | None, target_gpus: Sequence[Any],
                   dim: int = 0) -> tuple[tuple[Any, ...], tuple[dict[str, Any], ...]]:
    """Positional and named arguments in shares, as many of the ones as of the others."""
    given = scatter(inputs, target_gpus, dim) if inputs else []
    named = scatter(kwargs, target_gpus, dim) if kwargs else []
    count = max(len(given), len(named))
    given = [*given, *[()] * (count - len(given))]
    named = [*named, *[{} for _ in range(count - len(named))]]
    return tuple(given), tuple(named)


def replicate(network: Any, devices: Sequence[Any], detach: bool = False) -> list[Any]:
    """A copy of the module for each device. Its parameters are copies with a history (unless `detach`), so that
    gradients of the replicas are added to the module's own.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import replicate
        >>> net = facula.nn.Linear(2, 1)
        >>> replicas = replicate(net, ["cpu", "cpu"])
        >>> sum(r(facula.ones(1, 2)).sum() for r in replicas).backward()
        >>> net.weight.grad
        tensor([[2., 2.]])
    """
    made = []
    for which in devices:
        place, copies = _device(which), {}
        for module in network.modules():  # each once, however often it is there
            copies[module] = module._replicate_for_data_parallel()
        for module, replica in copies.items():
            replica._modules = {name: copies.get(child) for name, child in module._modules.items()}
            replica._parameters, replica._buffers = {}, dict.fromkeys(module._buffers)
            for name, parameter in module._parameters.items():
                # No Parameter any more: it has a history. So it stands beside the module's table of parameters.
                held = None if parameter is None else parameter.detach() if detach else parameter.view(parameter.shape)
                replica.__dict__[name] = None if held is None else held.to(place)
            for name, buffer in module._buffers.items():
                replica._buffers[name] = None if buffer is None else buffer.to(place)
        made.append(copies[network])
    return made


def parallel_apply(modules: Sequence[Any], inputs: Sequence[Any], kwargs_tup: Sequence[dict[str, Any]] | None = None,
                   devices: Sequence[Any] | None = None) -> list[Any]:
    """`module(*input, **kwargs)` for each, in threads of their own; what one raises is raised.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import parallel_apply
        >>> parallel_apply([facula.nn.Identity()] * 2, [(1,), (2,)])
        [1, 2]
    """
    if len(modules) != len(inputs):
        raise AssertionError(f"The number of modules {len(modules)} is not equal to the number of inputs {len(inputs)}")
    named = kwargs_tup if kwargs_tup is not None else [{}] * len(modules)
    grad, autocast = is_grad_enabled(), autocasting.thread.now

    def run(module: Any, given: Any, kwargs: dict[str, Any]) -> Any:
        with enable_grad() if grad else no_grad(), autocasting.region(autocast):  # modes are each thread's own
            return module(*(given if isinstance(given, (list, tuple)) else (given,)), **kwargs)

    if len(modules) == 1:
        return [run(modules[0], inputs[0], named[0])]
    with ThreadPoolExecutor(len(modules)) as pool:
        running = [pool.submit(run, *what) for what in zip(modules, inputs, named, strict=True)]
        return [done.result() for done in running]


def gather(outputs: Sequence[Any], target_device: Any, dim: int = 0) -> Any:
    """Results of several devices as one, on `target_device`: tensors joined along `dim`, containers part by part.

    Example:
        >>> import facula
        >>> from facula.nn.parallel import gather
        >>> gather([{"a": facula.zeros(1)}, {"a": facula.ones(2)}], "cpu")
        {'a': tensor([0., 1., 1.])}
    """
    from facula.ops.arrange.joining import cat
    place = _device(target_device)

    def join(*parts: Any) -> Any:
        if not isinstance(parts[0], Tensor):
            return parts[0]
        return cat([part.to(place).reshape(1) if not part.dim() else part.to(place) for part in parts], dim)
    return tree_map(join, outputs[0], *outputs[1:])
