"""The cache of keys and values: blocks of some tokens each, which sequences take and give back. Bounded in bytes.

A block that is full of tokens has a name, which follows from these and all before them. Given back it keeps name and
contents until it is needed, and a text that begins with the same tokens has it at once, as others may at that time.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..settings import ConfigError
from .decoder import CHUNK, SCRATCH, Sizes

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes of an element


class PagedCache:
    """Keys and values of all layers. A block's elements lie together, head by head, so it is read as one piece.

    Of 16 bits it has room for twice the tokens: what is kept is rounded, and what is read is float32 again.

    Raises ConfigError where `nbytes` hold no block.
    """

    def __init__(self, sizes: Sizes, nbytes: int, block_tokens: int, dtype: str = "float32") -> None:
        import facula
        if dtype not in WIDTHS:
            raise ConfigError(f"cache_dtype is one of {', '.join(WIDTHS)}, got {dtype!r}")
        self.dtype = getattr(facula, dtype)
        if block_tokens < 1 or CHUNK % block_tokens:
            raise ConfigError(f"block_tokens divides {CHUNK}, got {block_tokens}")
        self.sizes = sizes
        self.block_tokens = block_tokens
        each = 2 * sizes.layers * sizes.kv_heads * block_tokens * sizes.head_dim * WIDTHS[dtype]
        # More than `context` for each of 4,096 sequences is of no use.
        self.blocks = min(nbytes // each, 1 + 4096 * self.blocks_for(sizes.context))
        if self.blocks < 2:
            raise ConfigError(f"a cache of {nbytes} bytes: two blocks of {block_tokens} tokens take {2 * each}")
        self.nbytes = self.blocks * each
        shape = self.blocks * sizes.kv_heads * block_tokens, sizes.head_dim
        self.keys = [facula.zeros(shape, dtype=self.dtype) for _ in range(sizes.layers)]
        self.values = [facula.zeros(shape, dtype=self.dtype) for _ in range(sizes.layers)]
        self._spare = list(range(self.blocks - 1, SCRATCH, -1))  # of nobody, and without a name
        self._kept: dict[int, None] = {}  # of nobody, with a name; who was given back first goes first
        self._users = [0] * self.blocks
        self._names: dict[bytes, int] = {}
        self._name_of: dict[int, bytes] = {}

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    @property
    def capacity(self) -> int:
        """Tokens that one sequence may have if it has the cache to itself."""
        return min(self.sizes.context, (self.blocks - 1) * self.block_tokens)

    @property
    def left(self) -> int:
        """Blocks that nobody has."""
        return len(self._spare) + len(self._kept)

    def take(self, count: int) -> list[int] | None:
        """So many blocks, or None if there are fewer."""
        if count > self.left:
            return None
        taken = []
        for _ in range(count):
            if self._spare:
                block = self._spare.pop()
            else:
                block = next(iter(self._kept))
                del self._kept[block]
                del self._names[self._name_of.pop(block)]
            self._users[block] = 1
            taken.append(block)
        return taken

    def give(self, blocks: list[int]) -> None:
        """They are no more needed by one who has had them."""
        for block in reversed(blocks):  # the end of a text is forgotten before its beginning
            self._users[block] -= 1
            if self._users[block]:
                continue
            if block in self._name_of:
                self._kept[block] = None
            else:
                self._spare.append(block)
        blocks.clear()

    def share(self, names: list[bytes]) -> list[int]:
        """The blocks of these names, as far as there are any: they are had by one more."""
        found = []
        for name in names:
            block = self._names.get(name)
            if block is None:
                break
            self._kept.pop(block, None)
            self._users[block] += 1
            found.append(block)
        return found

    def call(self, block: int, name: bytes) -> None:
        """The block is full, and what is in it is right."""
        if name not in self._names and block not in self._name_of:
            self._names[name] = block
            self._name_of[block] = name

    def names(self, tokens: list[int], known: list[bytes], count: int) -> list[bytes]:
        """Of the first `count` blocks of a text; `known` grows to them. Strangers choose texts: no two may be found
        that have one name."""
        while len(known) < count:
            at = len(known) * self.block_tokens
            part = np.array(tokens[at:at + self.block_tokens], np.int64).tobytes()
            known.append(hashlib.blake2b((known[-1] if known else b"") + part, digest_size=32).digest())
        return known[:count]

    def clear(self, blocks: list[int]) -> None:
        """Zeros for what a sequence wrote that has gone wrong: who has these blocks next reads past its own end, with
        no weight, which is no help against NaN. What has a name was right."""
        import facula
        blocks = [block for block in blocks if block not in self._name_of]
        if not blocks:
            return
        each = self.sizes.kv_heads * self.block_tokens
        rows = (np.array(blocks, np.int64)[:, None] * each + np.arange(each)).reshape(-1)
        with facula.no_grad():
            for memory in self.keys + self.values:
                memory.index_fill_(0, facula.tensor(rows), 0.0)

    # ---- tensors -----------------------------------------------------------------------------------

    def write(self, layer: int, rows: Any, k: Any, v: Any) -> None:
        # Two dimensions: written in place. Of more, the whole memory would be copied first.
        self.keys[layer].index_copy_(0, rows, k.reshape(-1, self.sizes.head_dim).to(self.dtype))
        self.values[layer].index_copy_(0, rows, v.reshape(-1, self.sizes.head_dim).to(self.dtype))

    def read(self, memory: Any, table: Any) -> Any:
        """The blocks of a table that counts them head by head, one after another."""
        return memory.view(-1, self.block_tokens * self.sizes.head_dim).index_select(0, table).float()
