"""`DataParallel`: a batch shared out between the accelerators of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula import accelerator
from facula.nn.modules.module import Module
from facula.nn.parallel.scattering import _device, gather, parallel_apply, replicate, scatter_kwargs


class DataParallel(Module):
    """Runs `module` on shares of the batch, one for each device; without an accelerator, `module` itself.

    Args:
        module: what is run. Its names in the state_dict begin with `module.`.
        device_ids: accelerators, all of them unless told. None and no accelerator: this is `module` in a wrapper.
        output_device: where results are put together; the first of `device_ids` unless told.
        dim: the dimension of the batch.

    Example:
        >>> import facula
        >>> net = facula.nn.DataParallel(facula.nn.Linear(2, 1))
        >>> net(facula.ones(3, 2)).shape, list(net.state_dict())
        (torch.Size([3, 1]), ['module.weight', 'module.bias'])
    """

    def __init__(self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None,
                 dim: int = 0) -> None:
        super().__init__()
        kind = accelerator.current_accelerator(check_available=True)
        self.module = module
        self.device_ids: list[Any] = []
        if kind is None:
            return
        self.dim = dim
        self.device_ids = list(range(accelerator.device_count()) if device_ids is None else device_ids)
        if not self.device_ids:
            raise RuntimeError("DataParallel: no device ids")
        self.output_device = self.device_ids[0] if output_device is None else output_device
        if len(self.device_ids) == 1:
            self.module.to(_device(self.device_ids[0]))

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """`module(*inputs, **kwargs)`, in shares if there are devices for them."""
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        first = _device(self.device_ids[0])
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            if tensor.device != first:
                raise RuntimeError(f"module must have its parameters and buffers on device {first} (device_ids[0]) but "
                                   f"found one of them on device: {tensor.device}")
        given, named = scatter_kwargs(inputs, kwargs, self.device_ids, self.dim)
        if not given:
            given, named = ((),), ({},)
        if len(self.device_ids) == 1 or len(given) == 1:
            return self.module(*given[0], **named[0])
        replicas = replicate(self.module, self.device_ids[:len(given)])
        return gather(parallel_apply(replicas, given, named), self.output_device, self.dim)


def data_parallel(module: Any, inputs: Any, device_ids: Sequence[Any] | None = None, output_device: Any = None,
                  dim: int = 0, module_kwargs: dict[str, Any] | None = None) -> Any:
    """`DataParallel(module, ...)(*inputs, **module_kwargs)`, once.

    Example:
        >>> import facula
        >>> facula.nn.parallel.data_parallel(facula.nn.Identity(), facula.ones(2))
        tensor([1., 1.])
    """
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*inputs, **(module_kwargs or {}))
