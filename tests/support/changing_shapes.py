"""Training loops in which every step meets other shapes, and how much memory they take: what is remembered of shapes
must not grow with how many there were."""

from __future__ import annotations

import ctypes
import gc
import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import facula

SETTLE = 100  # steps after which memory is looked at first
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of this process that are in memory now, without those that the C library holds back (LLVM's, mostly)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def compile_something() -> None:
    """Have a kernel compiled that no object cache has: LLVM takes 80 MB of its own, once, when it first compiles."""
    y = facula.rand(7) + 1
    for _ in range(16):
        y = getattr(y, random.choice(["sin", "cos", "tanh", "exp", "sigmoid", "abs", "neg", "square", "floor"]))()
    y.tolist()


class Loop:
    """A model in training. `batch` draws arrays of new shapes, `outcome` is what library `lib` makes of them."""

    def __init__(self, seed: int) -> None:
        facula.manual_seed(seed % 2**32)
        self.drawn = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        self.model = self.make(facula)
        self.optimizer = facula.optim.Adam(self.model.parameters(), lr=1e-4)

    def make(self, lib: Any) -> Any:
        raise NotImplementedError

    def batch(self) -> list[np.ndarray]:
        raise NotImplementedError

    def outcome(self, lib: Any, model: Any, arrays: list[Any]) -> Any:
        raise NotImplementedError

    def normal(self, *shape: int) -> np.ndarray:
        return self.noise.standard_normal(shape).astype("float32")

    def step(self, look: bool = False) -> Any:
        """One step; what it was given and what came of it, if asked for: weights, arrays, loss, gradients."""
        arrays = self.batch()
        before = [p.detach().numpy().copy() for p in self.model.parameters()] if look else []
        self.optimizer.zero_grad()
        loss = self.outcome(facula, self.model, [facula.from_numpy(a) for a in arrays])
        loss.backward()
        value = loss.item()
        gradients = [p.grad.numpy().copy() for p in self.model.parameters()] if look else []
        self.optimizer.step()
        return (before, arrays, value, gradients) if look else value

    def disagreement(self, torch: Any, found: Any) -> float:
        """How far loss and gradients of a step that was looked at lie from PyTorch's, relative to the largest."""
        before, arrays, loss, gradients = found
        model = self.make(torch)
        with torch.no_grad():
            for p, value in zip(model.parameters(), before, strict=True):
                p.copy_(torch.from_numpy(value))
        theirs = self.outcome(torch, model, [torch.from_numpy(a) for a in arrays])
        theirs.backward()
        worst = abs(theirs.item() - loss) / max(abs(loss), 1e-6)
        for p, ours in zip(model.parameters(), gradients, strict=True):
            g = p.grad.numpy()
            worst = max(worst, float(np.abs(g - ours).max() / max(np.abs(g).max(), 1e-6)))
        return worst


class Images(Loop):
    """Batches of any number of images of any size."""

    def make(self, lib: Any) -> Any:
        nn = lib.nn
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Conv2d(8, 16, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))

    def batch(self) -> list[np.ndarray]:
        n, h, w = self.drawn.randint(2, 40), self.drawn.randint(8, 40), self.drawn.randint(8, 40)
        return [self.normal(n, 3, h, w), self.noise.integers(0, 5, n)]

    def outcome(self, lib: Any, model: Any, arrays: list[Any]) -> Any:
        return lib.nn.functional.cross_entropy(model(arrays[0]), arrays[1])


class Rows(Loop):
    """Batches of any number of rows, through a perceptron: several thousand sizes."""

    def make(self, lib: Any) -> Any:
        nn = lib.nn
        return nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.ReLU(), nn.Dropout(0.0), nn.Linear(32, 32),
                             nn.Tanh(), nn.Linear(32, 3))

    def batch(self) -> list[np.ndarray]:
        n = self.drawn.randint(2, 4000)
        return [self.normal(n, 12), self.normal(n, 3)]

    def outcome(self, lib: Any, model: Any, arrays: list[Any]) -> Any:
        return lib.nn.functional.smooth_l1_loss(model(arrays[0]), arrays[1])


class Packed(Loop):
    """Sequences of any lengths, packed."""

    kind = "LSTM"

    def make(self, lib: Any) -> Any:
        return getattr(lib.nn, self.kind)(6, 16, batch_first=True)

    def batch(self) -> list[np.ndarray]:
        lengths = sorted((self.drawn.randint(1, 12) for _ in range(6)), reverse=True)
        return [self.normal(6, lengths[0], 6), np.array(lengths)]

    def outcome(self, lib: Any, model: Any, arrays: list[Any]) -> Any:
        packed = lib.nn.utils.rnn.pack_padded_sequence(arrays[0], arrays[1], batch_first=True)
        out, state = model(packed)
        last = state[0] if isinstance(state, tuple) else state
        return out.data.pow(2).mean() + last.sin().mean()


class PackedGRU(Packed):
    kind = "GRU"


class Ragged(Loop):
    """Sequences of any lengths, padded, with masks, through an embedding and attention."""

    def make(self, lib: Any) -> Any:
        nn = lib.nn
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        return nn.ModuleList([nn.Embedding(30, 16), layer, nn.Linear(16, 30)])

    def batch(self) -> list[np.ndarray]:
        n = self.drawn.randint(2, 12)
        lengths = [self.drawn.randint(1, 40) for _ in range(n)]
        words = np.zeros((n, max(lengths)), np.int64)
        for row, length in zip(words, lengths, strict=True):
            row[:length] = self.noise.integers(1, 30, length)
        return [words]

    def outcome(self, lib: Any, model: Any, arrays: list[Any]) -> Any:
        words, padding = arrays[0], arrays[0] == 0
        embedding, layer, head = model
        out = head(layer(embedding(words), src_key_padding_mask=padding))
        return lib.nn.functional.cross_entropy(out[~padding], words[~padding])


LOOPS: dict[str, Callable[[int], Loop]] = {
    "rows": Rows, "images": Images, "packed LSTM": Packed, "packed GRU": PackedGRU, "ragged attention": Ragged}


def grown(loop: Loop, steps: int, settle: int, read: Callable[[], int] = resident) -> tuple[list[int], list[Any]]:
    """`read()` after `settle` steps and then after each tenth of `steps`; ten of the steps as they were looked at."""
    compile_something()
    for _ in range(settle):
        loop.step()
    sizes, looked = [read()], []
    for _ in range(10):
        looked.append(loop.step(look=True))
        for _ in range(steps // 10 - 1):
            loop.step()
        sizes.append(read())
    return sizes, looked
