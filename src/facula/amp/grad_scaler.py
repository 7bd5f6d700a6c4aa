"""Loss scaling: small gradients of 16-bit numbers become zero, those of a loss times 65536 do not."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Any

import facula
from facula.errors import warn

__all__ = ["GradScaler", "OptState"]


class OptState(Enum):
    """How far an optimizer has come since the last `update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _fresh() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


class GradScaler:
    """Scales losses, takes the scale out of gradients, leaves out steps whose gradients are not finite.

    The scale is halved (times `backoff_factor`) after a step with infinite or NaN gradients, and doubled (times
    `growth_factor`) after `growth_interval` steps without one.

    Args:
        device: "cpu", or an accelerator's type. Where that accelerator is absent, the scaler warns and does nothing.
        init_scale: the first scale.
        growth_factor: greater than 1.
        backoff_factor: less than 1.
        growth_interval: steps.
        enabled: False makes `scale`, `unscale_` and `update` do nothing, and `step` the optimizer's own.

    Raises:
        AssertionError: a factor out of range; `step` or `update` out of turn.

    Source: Micikevicius et al., "Mixed precision training", 2017.

    Example:
        >>> import facula
        >>> w = facula.ones(2, requires_grad=True)
        >>> optimizer = facula.optim.SGD([w], lr=0.5)
        >>> scaler = facula.amp.GradScaler("cpu", init_scale=8.0)
        >>> scaler.scale((w * float("inf")).sum()).backward()
        >>> scaler.step(optimizer)  # is left out
        >>> scaler.update()
        >>> w.tolist(), scaler.get_scale()
        ([1.0, 1.0], 4.0)
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True) -> None:
        self._device = device
        self._enabled = enabled
        if enabled and device == "cuda" and not facula.cuda.is_available():
            warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.")
            self._enabled = False
        if self._enabled:
            assert growth_factor > 1.0, "The growth factor must be > 1.0."
            assert backoff_factor < 1.0, "The backoff factor must be < 1.0."
            self._init_scale = init_scale
            self._scale: Any = None  # made with the first loss, on its device
            self._growth_factor = growth_factor
            self._backoff_factor = backoff_factor
            self._growth_interval = growth_interval
            self._init_growth_tracker = 0
            self._growth_tracker: Any = None  # steps without infinities since the scale has changed
            self._per_optimizer_states: Any = defaultdict(_fresh)

    def _check_scale_growth_tracker(self, what: str) -> tuple[Any, Any]:
        for name, value in (("_scale", self._scale), ("_growth_tracker", self._growth_tracker)):
            assert value is not None, (f"Attempted {what} but {name} is None.  This may indicate your script did not "
                                       "use scaler.scale(loss or outputs) earlier in the iteration.")
        return self._scale, self._growth_tracker

    def _lazy_init_scale_growth_tracker(self, device: Any) -> None:
        assert self._growth_tracker is None, "_growth_tracker initialized before _scale"
        self._scale = facula.full((), self._init_scale, dtype=facula.float32, device=device)
        self._growth_tracker = facula.full((), self._init_growth_tracker, dtype=facula.int32, device=device)

    def scale(self, outputs: Any) -> Any:
        """A tensor times the scale, or all tensors of (nested) lists and tuples.

        Raises:
            ValueError: anything else.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, facula.Tensor):
            if self._scale is None:
                self._lazy_init_scale_growth_tracker(outputs.device)
            return outputs * self._scale.to(device=outputs.device)
        if not isinstance(outputs, Iterable):
            raise ValueError("outputs must be a Tensor or an iterable of Tensors")
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled  # type: ignore[call-arg]

    # The names of what subclasses of libraries replace, or call: torch's.
    def _unscale_grads_(self, optimizer: Any, inv_scale: Any, found_inf: Any, allow_fp16: bool) -> dict[Any, Any]:
        """Multiply all gradients in place by `inv_scale`. Returns for each device `found_inf` (a 0-d float32 of 0.0),
        or 1.0 where a gradient was not finite."""
        factor = inv_scale.item()
        bad: dict[Any, Any] = {}
        with facula.no_grad():
            for group in optimizer.param_groups:
                for param in group["params"]:
                    gradient = param.grad
                    if gradient is None:
                        continue
                    if not allow_fp16 and gradient.dtype is facula.float16:
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    if gradient.is_sparse:
                        if gradient.dtype is facula.float16:  # one place may be there twice, and overflow in the sum
                            param.grad = gradient = gradient.coalesce()
                        gradient = gradient._values()
                    wrong = gradient.isfinite().all().logical_not()
                    known = bad.get(gradient.device)
                    bad[gradient.device] = wrong if known is None else known.logical_or(wrong)
                    if factor != 1.0:
                        gradient.mul_(factor)
        return {device: found_inf.to(device).maximum(wrong.to(facula.float32)) for device, wrong in bad.items()}

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, once between `backward` and `step`: to
        clip them, for example.

        Raises:
            RuntimeError: called twice, or after `step`.
            ValueError: float16 gradients (parameters belong in float32).
        """
        if not self._enabled:
            return
        self._check_scale_growth_tracker("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        state["found_inf_per_device"] = self._unscale_grads_(
            optimizer, self._scale.double().reciprocal().float(), facula.zeros(()), False)
        state["stage"] = OptState.UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(*args, **kwargs)`, after `unscale_`, if all gradients are finite.

        Returns:
            What the optimizer's step returns, or None where it is left out.

        Raises:
            RuntimeError: called twice since `update`, or with a closure.
            AssertionError: no loss was scaled, or no parameter has a gradient.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        # Our own optimizers, fused ones too, leave the scale to us.
        if getattr(optimizer, "_step_supports_amp_scaling", False) and not _ours(optimizer):
            result = self._step_of_its_own(optimizer, state, args, kwargs)
            state["stage"] = OptState.STEPPED
            return result
        if state["stage"] is OptState.READY:
            self._check_scale_growth_tracker("step")
            self.unscale_(optimizer)
        assert state["found_inf_per_device"], "No inf checks were recorded for this optimizer."
        result = self._maybe_opt_step(optimizer, state, *args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def _maybe_opt_step(self, optimizer: Any, optimizer_state: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if any(found.item() for found in optimizer_state["found_inf_per_device"].values()):
            return None
        return optimizer.step(*args, **kwargs)

    def _step_of_its_own(self, optimizer: Any, state: dict[str, Any], args: Any, kwargs: Any) -> Any:
        """The step of a user's optimizer that takes the scale out itself: it gets it as attributes, or the scaler."""
        scale, _ = self._check_scale_growth_tracker("step")
        if "grad_scaler" in inspect.signature(optimizer.step).parameters:
            return optimizer.step(*args, **kwargs, grad_scaler=self)
        if state["stage"] is OptState.READY:
            self._check_inf_per_device(optimizer)
        found = list(state["found_inf_per_device"].values())
        optimizer.grad_scale = None if state["stage"] is OptState.UNSCALED else scale
        optimizer.found_inf = sum(found[1:], found[0]) if found else None
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            del optimizer.grad_scale, optimizer.found_inf

    def update(self, new_scale: Any = None) -> None:
        """Change the scale by what the steps since the last call have found, or to `new_scale`.

        Raises:
            AssertionError: no loss was scaled or no step made since; or `new_scale` is no float and no float32
                tensor of one element.
        """
        if not self._enabled:
            return
        scale, tracker = self._check_scale_growth_tracker("update")
        if new_scale is not None:
            if not isinstance(new_scale, float):
                fits = (isinstance(new_scale, facula.Tensor) and new_scale.numel() == 1
                        and not new_scale.is_complex() and not new_scale.requires_grad)
                assert fits, ("new_scale should be a float or a 1-element torch.cuda.FloatTensor or torch.FloatTensor "
                              "with requires_grad=False.")
                new_scale = new_scale.item()
            scale.fill_(new_scale)
        else:
            found = [wrong for state in self._per_optimizer_states.values()
                     for wrong in state["found_inf_per_device"].values()]
            assert found, "No inf checks were recorded prior to update."
            if any(wrong.item() for wrong in found):
                scale.mul_(self._backoff_factor)
                tracker.fill_(0)
            elif tracker.item() + 1 == self._growth_interval:
                grown = scale * self._growth_factor
                if grown.isfinite().item():  # else it stays at the largest that is
                    scale.copy_(grown)
                tracker.fill_(0)
            else:
                tracker.add_(1)
        self._per_optimizer_states = defaultdict(_fresh)

    def _check_inf_per_device(self, optimizer: Any) -> Any:
        self._check_scale_growth_tracker("_check_inf_per_device")
        found = self._unscale_grads_(optimizer, facula.ones(()), facula.zeros(()), True)
        self._per_optimizer_states[id(optimizer)]["found_inf_per_device"] = found
        return found

    def _found_inf_per_device(self, optimizer: Any) -> Any:
        return self._per_optimizer_states[id(optimizer)]["found_inf_per_device"]

    def _get_scale_async(self) -> Any:
        return self._scale

    def get_scale(self) -> float:
        """The scale; 1.0 where the scaler is not enabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()  # type: ignore[no-any-return]

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by when it grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after infinite gradients."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many steps without infinite gradients the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        return self._init_growth_tracker if self._growth_tracker is None else self._growth_tracker.item()

    def is_enabled(self) -> bool:
        """Does this scaler do anything?"""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers to save between `update` and the next `step`; empty where the scaler is not enabled."""
        if not self._enabled:
            return {}
        return {"scale": self.get_scale(), "growth_factor": self._growth_factor,
                "backoff_factor": self._backoff_factor, "growth_interval": self._growth_interval,
                "_growth_tracker": self._get_growth_tracker()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as the scaler did whose state this is.

        Raises:
            RuntimeError: the state of a scaler that was not enabled.
        """
        if not self._enabled:
            return
        if len(state_dict) == 0:
            raise RuntimeError("The source state dict is empty, possibly because it was saved from a disabled instance "
                               "of GradScaler.")
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._growth_tracker is not None:
            self._growth_tracker.fill_(state_dict["_growth_tracker"])

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            assert len(self._per_optimizer_states) == 0, ("A GradScaler instance may only be pickled at the beginning "
                                                          "of an iteration, or at the end after scaler.update().")
            # tensors may lie on devices that are not there when this is read
            state["_init_scale"] = self.get_scale()
            state["_init_growth_tracker"] = self._get_growth_tracker()
            state["_scale"] = state["_growth_tracker"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _ours(optimizer: Any) -> bool:
    """Is the step of this optimizer one of facula.optim's?"""
    module: str = inspect.unwrap(type(optimizer).step).__module__
    return module.startswith("facula.optim.")
