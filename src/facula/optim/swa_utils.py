"""Averages of a model's weights: stochastic weight averaging and exponential moving averages."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import facula
from facula.errors import warn
from facula.nn import Module

from .lr_scheduler.base import LRScheduler, _spread

__all__ = ["SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
           "get_swa_multi_avg_fn", "update_bn"]


def get_ema_avg_fn(decay: float = 0.999) -> Any:
    """A function for `AveragedModel`: `decay * average + (1 - decay) * parameter`."""
    _check_decay(decay)

    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        with facula.no_grad():
            return decay * ema_param + (1 - decay) * current_param
    return ema_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Any:
    """As `get_ema_avg_fn`, for all parameters at once, in place."""
    _check_decay(decay)

    def ema_update(ema_params: Any, current_params: Any, num_averaged: Any) -> None:
        with facula.no_grad():
            for average, current in zip(ema_params, current_params, strict=True):
                average.lerp_(current, 1 - decay) if average.is_floating_point() else average.copy_(current)
    return ema_update


def get_swa_avg_fn() -> Any:
    """A function for `AveragedModel`: the mean of all parameters so far."""
    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        with facula.no_grad():
            return averaged_param + (current_param - averaged_param) / (num_averaged + 1)
    return swa_update


def get_swa_multi_avg_fn() -> Any:
    """As `get_swa_avg_fn`, for all parameters at once, in place."""
    def swa_update(averaged_params: Any, current_params: Any, num_averaged: Any) -> None:
        with facula.no_grad():
            for average, current in zip(averaged_params, current_params, strict=True):
                average.add_((current - average) / (num_averaged + 1))
    return swa_update


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of that model's.

    Args:
        model: is copied.
        avg_fn: the new average from (average, parameter, number averaged so far); the plain mean by default.
        multi_avg_fn: the same for lists of all parameters, in place.
        use_buffers: average the buffers too; otherwise they are copied.

    Example:
        >>> import facula
        >>> model = facula.nn.Linear(1, 1)
        >>> average = facula.optim.swa_utils.AveragedModel(model)
        >>> average.update_parameters(model)
        >>> average.n_averaged.item()
        1
    """

    n_averaged: Any

    def __init__(self, model: Any, device: Any = None, avg_fn: Any = None, multi_avg_fn: Any = None,
                 use_buffers: bool = False) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", facula.tensor(0, dtype=facula.int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Any) -> None:
        """Take the model's present parameters into the average."""
        def tensors(module: Any) -> list[Any]:
            return [*module.parameters(), *(module.buffers() if self.use_buffers else ())]
        averages = [t.detach() for t in tensors(self.module)]
        currents = [t.detach().to(a.device) for t, a in zip(tensors(model), averages, strict=True)]
        if bool(self.n_averaged == 0):
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(averages, currents, self.n_averaged)
        elif self.avg_fn is None:
            get_swa_multi_avg_fn()(averages, currents, self.n_averaged)
        else:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(self.avg_fn(average, current, self.n_averaged))
        if not self.use_buffers:
            for average, current in zip(self.module.buffers(), model.buffers(), strict=True):
                average.detach().copy_(current.detach())
        self.n_averaged += 1


def update_bn(loader: Any, model: Any, device: Any = None) -> None:
    """Compute the running statistics of all batch normalizations anew, by one pass over the data."""
    from facula.nn.modules.batchnorm import _BatchNorm
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    with facula.no_grad():
        for batch in loader:
            if isinstance(batch, (list, tuple)):
                batch = batch[0]
            model(batch if device is None else batch.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Goes from the present rate to `swa_lr` in `anneal_epochs` and stays there.

    Args:
        anneal_strategy: "cos" or "linear".
    """

    def __init__(self, optimizer: Any, swa_lr: Any, anneal_epochs: int = 10, anneal_strategy: str = "cos",
                 last_epoch: int = -1) -> None:
        for lr, group in zip(_spread(optimizer, "swa_lr", swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError("anneal_strategy must be one of 'cos' or 'linear', instead got "
                             f"{anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _part(self, epoch: int) -> float:
        part = max(0.0, min(1.0, epoch / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * part)) / 2 if self._anneal_strategy == "cos" else part

    def get_lr(self) -> list[Any]:
        if not self._get_lr_called_within_step:
            warn("To get the last learning rate computed by the scheduler, please use "
                 "`get_last_lr()`.", UserWarning)
        # What the rate was before annealing follows from the present one.
        step = self.last_epoch if self.anneal_epochs == 0 else self._step_count - 1
        before, now = self._part(max(0, step - 1)), self._part(max(0, step))
        groups = self.optimizer.param_groups
        starts = [group["swa_lr"] if before == 1 else (group["lr"] - before * group["swa_lr"]) / (1 - before)
                  for group in groups]
        return [group["swa_lr"] * now + start * (1 - now) for group,
                start in zip(groups, starts, strict=True)]
