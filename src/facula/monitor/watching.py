"""`watch`: what goes on in a model while it is trained, from hooks that cost next to nothing.

    forward of the model     told to the run's time line (`timing.py`)
                             every `norm_freq` passes a look at activations (`activations.py`)
    end of a backward pass   norms of gradients every `norm_freq` passes, histograms every `log_freq`

Gradients are read once a backward pass is over and has computed them (`autograd.backward.passes`), not by hooks of
tensors: those would have every pass walked that could have been replayed. It is before they are clipped or unscaled.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Sequence
from typing import Any

import facula
from facula import nn
from facula.autograd.backward import passes
from facula.autograd.grad_mode import no_grad
from facula.autograd.graph import mode
from facula.engine.session import session
from facula.monitor.activations import Looks
from facula.monitor.alarms import say
from facula.monitor.media import Graph, Histogram, Media, Part, array
from facula.monitor.runs import Run
from facula.monitor.stepping import Steps
from facula.monitor.timing import TimeLine, line_of
from facula.nn.parameter import UninitializedParameter
from facula.ops.listening import quiet
from facula.random import fork_rng

SAMPLE = 1 << 18  # elements of a histogram; of larger tensors as many, evenly chosen
_LOGS = ("gradients", "parameters", "all", None)


class Sampled(Media):
    """A histogram of a tensor's elements as they are now, counted by the thread that writes."""

    kind = "histogram"

    def __init__(self, t: Any) -> None:
        flat = t.detach().reshape(-1)
        self._of = flat.numel()
        if self._of > SAMPLE:
            every = self._of // SAMPLE + 1
            flat = flat[::every | 1]  # an odd number: not the same columns of every row
        self._values = array(flat.abs() if flat.is_complex() else flat.clone())  # of the sample alone, not of all

    def parts(self) -> list[Part]:
        """Counts and edges as JSON."""
        histogram = Histogram(self._values)
        if len(self._values) < self._of:
            histogram.facts["of"] = self._of
        return histogram.parts()


class _Hook:
    """A hook of a model that holds no run: in a copy of the model, pickled or not, it is `_nothing`, and once its watch
    is gone it does nothing."""

    def __init__(self, method: Any) -> None:
        self._method = weakref.WeakMethod(method)

    def __call__(self, *args: Any) -> None:
        method = self._method()
        if method is not None:
            method(*args)

    def __reduce__(self) -> Any:
        return _no_hook, ()


def _nothing(*args: Any) -> None:
    """A hook of a copy."""


def _no_hook() -> Any:
    return _nothing


class Watch:
    """A model that is watched: what `watch` makes. `stop` ends it."""

    def __init__(self, run: Run, model: nn.Module, log: str | None, log_freq: int, norm_freq: int, prefix: str,
                 line: TimeLine | None = None, graph: str | None = None) -> None:
        self.run, self.prefix, self._line = run, prefix, line
        self._graph = graph  # its name, until it is logged
        self._model = weakref.ref(model)
        self._log, self._log_freq, self._norm_freq = log, log_freq, norm_freq
        self._steps, self._looks = Steps(run), Looks()
        self._passes = 0
        self._called = False  # since the last backward pass
        self._depth = 0  # of backward passes within others (a checkpoint's)
        self._handles = [model.register_forward_pre_hook(_Hook(self._before), with_kwargs=True),
                         model.register_forward_hook(_Hook(self._after), always_call=True)]
        passes.append(self)
        run.observers.append(self)

    @property
    def model(self) -> nn.Module | None:
        """The model, as long as somebody else holds it."""
        return self._model()

    def stop(self) -> None:
        """Take everything away that `watch` has put somewhere."""
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()
        self._looks.end()
        for places in (passes, self.run.observers):
            if self in places:
                places.remove(self)

    def _failed(self, error: Exception) -> None:
        self.stop()
        say("WARN", "watch", f"{type(error).__name__}: {error}; the model is watched no more")

    # ---- what happens: nothing of this may raise ----

    def _before(self, module: Any, args: Any, kwargs: Any) -> None:
        if self._graph is not None:
            self._log_graph(args, kwargs)
        if self._line is not None:
            self._line.begin("forward")
        model = self._model()
        if model is None or not model.training or not mode.grad or session.traced is not None:
            return
        self._called, self._depth = True, 0
        if self._passes % self._norm_freq == 0:
            try:
                self._looks.begin(model)
            except Exception as error:
                self._failed(error)

    def _after(self, module: Any, args: Any, result: Any) -> None:
        self._looks.end()
        if self._line is not None:
            self._line.end("forward")

    def _log_graph(self, args: Any, kwargs: Any) -> None:
        """Of a copy, called with what the model is given: neither statistics nor random numbers are touched."""
        name, self._graph = self._graph, None
        try:
            with fork_rng():
                graph = Graph(copy.deepcopy(self._model()), args, kwargs, timed=False, kernels=False)
            self.run.observe(self.run.step, {str(name): graph})
        except Exception as error:
            say("WARN", "watch", f"{type(error).__name__}: {error}; there is no graph of the model")

    def begun(self) -> None:
        """A backward pass begins."""
        self._depth += 1

    def ended(self) -> None:
        """A backward pass has ended."""
        self._depth -= 1
        if not self._called or self._depth > 0:
            return
        self._called = False
        try:
            self._look()
        except Exception as error:
            self._failed(error)

    def _look(self) -> None:
        step, k = self._steps.next(), self._passes
        self._passes += 1
        model = self._model()
        if model is None:
            self.stop()
            return
        row: dict[str, Any] = {}
        with no_grad(), quiet():
            if k % self._norm_freq == 0:
                row |= self._looks.read(self.prefix)
                row |= self._norms(model)
            if k % self._log_freq == 0 and self._log is not None:
                for name, parameter in model.named_parameters():
                    if isinstance(parameter, UninitializedParameter):
                        continue
                    if self._log != "parameters" and parameter.grad is not None:
                        row[f"gradients/{self.prefix}{name}"] = Sampled(dense(parameter.grad))
                    if self._log != "gradients":
                        row[f"parameters/{self.prefix}{name}"] = Sampled(parameter)
        if row:
            self.run.observe(step, row)

    def _norms(self, model: nn.Module) -> dict[str, float]:
        """Of each layer's own parameters together, and of all. In the order of the backward pass: an alarm names the
        first that is wrong."""
        given = [(name.rpartition(".")[0], p.grad) for name, p in model.named_parameters() if p.grad is not None]
        if not given:
            return {}
        norms = facula.stack([norm(g) for _, g in given]).tolist()
        layers: dict[str, float] = {}
        for (path, _), value in zip(given, norms, strict=True):
            layers[path] = math.hypot(layers.get(path, 0.0), value)
        row = {f"gradient_norms/{self.prefix}{path or 'model'}": value
               for path, value in reversed(layers.items())}
        row[f"gradient_norm{'/' + self.prefix.rstrip('.') if self.prefix else ''}"] = math.hypot(*layers.values())
        return row


def dense(g: Any) -> Any:
    """`g`, or the elements of a sparse one."""
    return g.coalesce().values() if getattr(g, "is_sparse", False) else g


def norm(g: Any) -> Any:
    """The norm of `g` as a float64 on the cpu, added up as such: squares do not overflow."""
    g = dense(g.detach())
    return facula.linalg.vector_norm(g if g.is_complex() else g.double()).cpu().double()


def watch(run: Run, models: Any, log: str | None = "gradients", log_freq: int = 1000, idx: int | None = None,
          norm_freq: int = 10, timed: bool = True, log_graph: bool = False) -> tuple[Watch, ...]:
    """See `facula.monitor.watch`."""
    if log not in _LOGS:
        raise ValueError("log must be one of 'gradients', 'parameters', 'all', or None")
    for name, count in (("log_freq", log_freq), ("norm_freq", norm_freq)):
        if not count >= 1:
            raise ValueError(f"watch: {name}={count!r}; every how many passes, at least 1")
    several: Sequence[Any] = models if isinstance(models, (tuple, list)) else (models,)
    for model in several:
        if not isinstance(model, nn.Module):
            raise TypeError(f"Expected a pytorch model (torch.nn.Module). Received {type(model)}")
        if any(isinstance(w, Watch) and w.model is model for w in run.observers):
            raise ValueError("You can only call `watch` once per model. `unwatch` it first.")
    if run.disabled:
        return ()
    first = sum(isinstance(w, Watch) for w in run.observers) if idx is None else idx
    line = line_of(run, watched=True) if timed else None
    return tuple(Watch(run, model, log, log_freq, norm_freq, f"graph_{first + k}." if first + k else "", line,
                       f"graph_{first + k}" if log_graph else None)
                 for k, model in enumerate(several))


def unwatch(run: Run, models: Any = None) -> None:
    """See `facula.monitor.unwatch`."""
    several = models if isinstance(models, (tuple, list)) else (models,)
    for observer in list(run.observers):
        if isinstance(observer, Watch) and (models is None or any(observer.model is model for model in several)):
            observer.stop()
    if not any(isinstance(observer, Watch) for observer in run.observers):
        for observer in list(run.observers):
            if isinstance(observer, TimeLine) and observer.watched:
                observer.stop()
