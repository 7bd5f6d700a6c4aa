"""Loops that are interrupted (interrupting.py) while devices, modes, transforms, listeners or other threads are
alive."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import facula
from facula import func, nn
from facula.autograd import forward_ad
from facula.engine.graph.node import PlacedNode, elsewhere
from facula.engine.session import session
from interrupting import Passing, Program, Training, Twice
from placed_programs import announced


class Placed(Training):
    """Training on the pretend accelerator, with copies from and to it."""

    def __init__(self) -> None:
        super().__init__("Adam")
        self.announced = announced()
        self.place = self.announced.__enter__()
        self.net.to(self.place)
        self.optimizer = facula.optim.Adam(self.net.parameters())
        self.batch = self.batch.to(self.place)

    def step(self) -> float:
        with self.place:
            noise = facula.arange(8.0) * 0
        self.batch = (self.batch + noise).cpu().to(self.place)
        order = self.batch[:, 0].sort().values
        loss = super().step()
        return loss + float(order[0])

    def check(self) -> None:
        alive = sum(isinstance(one, PlacedNode) for one in gc.get_objects())
        assert len(elsewhere) == alive, f"{len(elsewhere)} values are said to be on other devices, not {alive}"

    def close(self) -> None:
        self.net = self.optimizer = self.batch = None
        gc.collect()
        self.announced.__exit__(None, None, None)


class Heard(facula.Tensor):
    """A subclass, whose type is asked for every call."""


class Modes(Program):
    """Each mode there is, one in another."""

    def __init__(self) -> None:
        self.x, self.written = facula.arange(6.0).reshape(2, 3), facula.zeros(3)
        self.leaf = facula.ones(3, requires_grad=True)

    def step(self) -> float:
        with Passing(), facula.no_grad(), Passing(), facula.enable_grad():
            y = (self.leaf * self.x).sin()
            with facula.autograd.detect_anomaly(check_nan=False), facula.autocast("cpu"):
                y.sum().backward()
        self.leaf.grad = None
        with facula.inference_mode():
            z = self.x.exp() + 1
            with facula.inference_mode(False):
                z = z.clone()
        w = self.leaf.exp()
        with facula.device("meta"):
            assert facula.ones(2).is_meta
            with facula.device("cpu"):
                v = facula.zeros(3)
        with facula.random.fork_rng(), facula.overrides.DisableTorchFunction():
            facula.manual_seed(2)
            v = v + facula.rand(3)
        heard = self.x.as_subclass(Heard) + 1
        with facula.no_grad():
            self.written.copy_(v + heard[0])
        return z.sum().item() + w.sum().item() + self.written.sum().item()

    def tensors(self) -> list[Any]:
        return [self.written]


class Transforms(Program):
    """vmap, grad, jvp, jacobians, a module called with other parameters."""

    def __init__(self) -> None:
        facula.manual_seed(5)
        self.net, self.total = nn.Linear(3, 2), facula.zeros(2)
        self.x = facula.randn(4, 3)

    def step(self) -> float:
        values = {name: p.detach() * 2 for name, p in self.net.named_parameters()}

        def loss(values: Any, x: Any) -> Any:
            return func.functional_call(self.net, values, (x,)).sin().sum()

        each = func.vmap(func.grad(loss), (None, 0))(values, self.x)
        there, along = func.jvp(lambda x: (x * x).exp(), (self.x * 0.1,), (facula.ones_like(self.x),))
        second = func.jacrev(func.jacfwd(lambda x: (x ** 3).sum()))(self.x[0])
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(self.x[0], self.x[1])
            tangent = forward_ad.unpack_dual(dual.tanh()).tangent
        self.total.add_(each["bias"].sum(0))
        return sum(t.sum().item() for t in (each["weight"], there, along, second, tangent, self.total))

    def tensors(self) -> list[Any]:
        return [self.total, *self.net.parameters()]


class Watched(Training):
    """Under the profiler, with hooks of all modules, a checkpoint and batches of a loader."""

    def __init__(self) -> None:
        super().__init__("SGD")
        self.pre = 0
        self.net.register_forward_pre_hook(lambda *_: setattr(self, "pre", self.pre + 1))
        self.net[0].register_forward_hook(lambda module, args, out: out * 1)
        data = facula.utils.data.TensorDataset(facula.randn(12, 8))
        self.loader = facula.utils.data.DataLoader(data, batch_size=4)
        self.optimizer = facula.optim.SGD(self.net.parameters(), lr=0.01)

    def step(self) -> float:
        loss = facula.zeros(())
        with facula.profiler.profile() as profile:
            for batch, in self.loader:
                hidden = facula.utils.checkpoint.checkpoint(self.net[0], batch, use_reentrant=False)
                loss = loss + Twice.apply(self.net(batch).mean() + hidden.mean())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        assert profile.key_averages()
        return loss.item()


class Beside(Program):
    """Writes that take the engine's lock, as there has been another thread."""

    def __init__(self) -> None:
        self.x = facula.zeros(4, 4)
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()

    def step(self) -> float:
        for k in range(3):
            self.x[k].add_(1)
            self.x.diagonal().mul_(0.5)
        return self.x.sum().item()

    whole = False

    def tensors(self) -> list[Any]:
        return [self.x]

    def check(self) -> None:
        free: list[bool] = []

        def take() -> None:
            free.append(session.lock.acquire(timeout=5))
            if free[0]:
                session.lock.release()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        assert free == [True], "the engine's lock is held"


def programs() -> dict[str, Callable[[], Program]]:
    return {"placed": Placed, "modes": Modes, "transforms": Transforms, "watched": Watched, "beside": Beside}
