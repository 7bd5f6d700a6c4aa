"""Memory that others see: writes through every door between reads of every kind, against what torch answers.

A program draws its steps from a seed. Whatever is read is kept as it was recorded and looked at in the end: nothing
that was written meanwhile may show in it, and nothing that was written before may be missing.
"""

import copy
import ctypes
import io
import pickle
import random
import warnings

import numpy as np
import pytest

import facula as F
from many_threads import together

SEEDS = range(40)
STEPS = 60


class Program:
    """The steps of one seed, done with one library. What it has seen is in `seen`, plain data."""

    def __init__(self, L, seed):
        self.L, self.drawn = L, random.Random(seed)
        self.kept = []  # (tensor, was it read only): values that are looked at in the end
        self.seen = []
        self.handles = []  # functions that write (place, number), and the memory's length
        self.pool = []
        for k in range(3):
            shape = self.drawn.choice([(6,), (3, 4), (2, 2, 2)])
            self.pool.append(self.made(shape, k))
        self.weight = L.nn.Parameter(L.tensor([1.0, -2.0, 3.0], dtype=L.float64))
        self.optimizer = L.optim.SGD([self.weight], lr=0.5, momentum=0.5)
        self.pool.append(self.weight.data)

    def made(self, shape, k):
        L = self.L
        array = np.arange(np.prod(shape), dtype=[np.float32, np.float64, np.int64][k % 3]).reshape(shape)
        how = self.drawn.randrange(5)
        if how == 0:
            self.handles.append(lambda i, v: array.reshape(-1).__setitem__(i % array.size, v))
            return L.from_numpy(array)
        if how == 1:
            memory = bytearray(array.tobytes())
            view = memoryview(memory).cast("B").cast(array.dtype.char.replace("l", "q"))
            self.handles.append(lambda i, v: view.__setitem__(i % array.size, array.dtype.type(v).item()))
            t = L.frombuffer(memory, dtype={"f": L.float32, "d": L.float64, "l": L.int64}[array.dtype.char])
            return t.reshape(shape)
        if how == 2:
            return L.asarray(array.copy())
        return L.tensor(array) * 1 if how == 3 else L.full(shape, 2, dtype=L.tensor(array).dtype)

    def tensor(self):
        return self.drawn.choice(self.pool)

    # ---- doors -------------------------------------------------------------------------------------------

    def write_by_array(self):
        t, i, v = self.tensor(), self.drawn.randrange(24), self.drawn.randrange(9)
        how = self.drawn.randrange(6)
        array = [lambda: t.numpy(), lambda: t.data.numpy(), lambda: t.detach().numpy(), lambda: t[:1].numpy(),
                 lambda: t.transpose(0, -1).numpy(), lambda: np.asarray(t)][how]()
        array[np.unravel_index(i % array.size, array.shape)] = v
        if self.drawn.random() < 0.3:
            self.handles.append(
                lambda i, v: array.__setitem__(np.unravel_index(i % array.size, array.shape), v))

    def write_by_memoryview(self):
        array = self.tensor().numpy()
        view = memoryview(array)
        kind = array.dtype.type
        places = [tuple(map(int, np.unravel_index(i, array.shape))) for i in range(array.size)]
        self.handles.append(lambda i, v: view.__setitem__(places[i % len(places)], kind(v).item()))
        self.handles[-1](self.drawn.randrange(24), self.drawn.randrange(9))
        if self.drawn.random() < 0.5:
            self.handles.pop()

    def write_by_dlpack(self):
        t = self.L.from_dlpack(self.tensor())
        t.view(-1)[self.drawn.randrange(t.numel())] = self.drawn.randrange(9)
        if self.drawn.random() < 0.3:
            self.pool.append(t)

    def write_by_address(self):
        t = self.tensor()
        wide = ctypes.c_double if t.dtype.is_floating_point else ctypes.c_int64
        kind = ctypes.c_float if t.element_size() == 4 else wide
        memory = (kind * t.numel()).from_address(t.data_ptr())
        memory[self.drawn.randrange(len(memory))] = self.drawn.randrange(9)
        self.seen.append(list(memory))
        if self.drawn.random() < 0.4:
            self.handles.append(lambda i, v, whose=t: memory.__setitem__(i % len(memory), v))
            self.kept.append((lambda whose=t: list(memory), True))

    def write_by_storage(self):
        t = self.tensor()
        storage = t.storage() if self.drawn.random() < 0.5 else t.untyped_storage()
        storage[self.drawn.randrange(t.numel())] = self.drawn.choice([0, 1])
        self.seen.append(storage.tolist())

    def write_by_handle(self):
        if self.handles:
            self.drawn.choice(self.handles)(self.drawn.randrange(24), self.drawn.randrange(9))

    def write_in_place(self):
        t, v = self.tensor(), self.drawn.randrange(9)
        how = self.drawn.randrange(9)
        [lambda: t.add_(v), lambda: t.mul_(2).remainder_(16), lambda: t.fill_(v), lambda: t.zero_(),
         lambda: t.__setitem__(0, v), lambda: t.copy_(t.flip(0) + 1), lambda: self.L.add(t, v, out=t),
         lambda: t.view(-1).index_put_((self.L.tensor([0, 2]),), self.L.tensor([v, 1], dtype=t.dtype)),
         lambda: t[-1:].add_(v)][how]()

    # ---- reads -------------------------------------------------------------------------------------------

    def keep(self, value):
        self.kept.append((value, False))

    def read(self):
        t, L = self.tensor(), self.L
        how = self.drawn.randrange(14)
        self.keep([lambda: t * 2 + 1, lambda: t.sum(), lambda: t.amax(0), lambda: t.cumsum(-1), lambda: t.clone(),
                   lambda: t[0] * 1, lambda: t.transpose(0, -1).reshape(-1),
                   lambda: L.cat([t.reshape(-1), t.reshape(-1)]),
                   lambda: t.reshape(-1)[L.tensor([1, 0])], lambda: L.where(t > 2, t, -t), lambda: t.double().var(),
                   lambda: copy.deepcopy(t), lambda: pickle.loads(pickle.dumps(t)), lambda: t == 1][how]())

    def read_now(self):
        t, L = self.tensor(), self.L
        how = self.drawn.randrange(7)
        if how == 0:
            file = io.BytesIO()
            L.save(t, file)
            file.seek(0)
            self.keep(L.load(file, weights_only=True))
        else:
            self.seen.append([None, lambda: repr(t), lambda: t.tolist(), lambda: t.reshape(-1)[0].item(),
                              lambda: [float(v) for v in t.reshape(-1)], lambda: np.array(t).tolist(),
                              lambda: t[t > 1].tolist()][how]())

    def alias(self):
        t = self.tensor()
        how = self.drawn.randrange(5)
        self.pool.append([lambda: t.detach(), lambda: t.data, lambda: t.view(-1), lambda: copy.copy(t),
                          lambda: t.view(t.shape)][how]())
        if len(self.pool) > 7:
            self.pool.pop(self.drawn.randrange(len(self.pool)))

    def differentiate(self):
        t = self.tensor().detach().double().reshape(-1)[:3]
        for _ in range(self.drawn.choice([1, 3])):
            loss = (self.weight * t * self.weight).sum() + (self.weight.exp() * 0 + t.sin() * 0).sum()
            loss.backward()
        self.keep(self.weight.grad.clone())

    def train(self):
        self.optimizer.step()
        with self.L.no_grad():
            self.weight.remainder_(8)
            for entry in self.optimizer.state.values():
                entry["momentum_buffer"].remainder_(8)
        if self.drawn.random() < 0.5:
            self.optimizer.zero_grad(set_to_none=self.drawn.random() < 0.5)
        if self.drawn.random() < 0.3:
            self.pool.append(self.weight.data)

    def compare_addresses(self):
        places = [t.untyped_storage().data_ptr() for t in self.pool]
        self.seen.append([a == b for a in places for b in places])
        self.seen.append([t.data_ptr() - place for t, place in zip(self.pool, places, strict=True)])
        whole = [t.data_ptr() for t in self.pool]
        for t in self.pool:
            t.add_(1)
            self.L.add(t, 1, out=t)
        self.seen.append(whole == [t.data_ptr() for t in self.pool])

    def run(self):
        steps = [self.write_by_array] * 3 + [self.write_by_handle] * 4 + [self.write_in_place] * 3 + [self.read] * 6 + [
            self.write_by_memoryview, self.write_by_dlpack, self.write_by_storage, self.read_now, self.read_now,
            self.alias, self.differentiate, self.differentiate, self.train, self.train]
        if self.drawn.random() < 0.6:
            steps += [self.write_by_address] * 2
        if self.drawn.random() < 0.2:
            steps += [self.compare_addresses]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(STEPS):
                self.drawn.choice(steps)()
        for value, is_function in self.kept:
            self.seen.append(value() if is_function else value.tolist())
        self.seen += [t.tolist() for t in self.pool]
        return self.seen


def plain(value):
    if isinstance(value, list):
        return [plain(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value


@pytest.mark.processes
def test_programs_in_several_threads():
    seeds = list(range(100, 130))
    alone = [plain(Program(F, seed).run()) for seed in seeds]
    for k in range(0, len(seeds), 3):
        found = together([lambda seed=seed: plain(Program(F, seed).run()) for seed in seeds[k:k + 3]])
        assert found == alone[k:k + 3]


@pytest.mark.oracle
@pytest.mark.parametrize("seed", SEEDS)
def test_writes_through_every_door(seed, oracle):
    def run(L):
        return plain(Program(L, seed).run())
    assert run(F) == oracle(run)
