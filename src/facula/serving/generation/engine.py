"""Steps of a decoder over a paged cache: which shapes they have, and the test that company changes no bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..elements import Array
from ..faults import ServingError
from .cache import PagedCache
from .decoder import CHUNK, SCRATCH, Language, Step

TOKENS = (1, 8, 32, 128)  # of one sequence in one step: few shapes, each of which has plans of its own
PIECE = TOKENS[-1]
ROWS = 256  # tokens of prompts that are read in one step: as long others wait for their next token


@dataclass(frozen=True, slots=True)
class Part:
    """Of a sequence with these blocks the tokens from `start`, `count` of them, are to be read."""

    tokens: list[int]
    start: int
    count: int
    blocks: list[int]


class Engine:
    """exact   does a sequence that is read again have the same bits? (else none is ever put aside)
    alone   why sequences are not run together; "" if they are
    """

    def __init__(self, language: Language, cache_bytes: int, block_tokens: int, cache_dtype: str = "float32") -> None:
        self.language = language
        self.decoder = language.decoder
        if hasattr(self.decoder, "eval"):
            self.decoder.eval()
        self.cache = PagedCache(self.decoder.sizes, cache_bytes, block_tokens, cache_dtype)
        self.exact = True
        self.alone = ""

    def logits(self, parts: list[Part], every: bool = False) -> Array:
        """(parts, 1, vocabulary), of each part's last token; (parts, M, vocabulary), M >= count, of every one."""
        import facula
        from facula.autograd.modes import rows_alike
        block = self.cache.block_tokens
        count, tokens = _bucket(len(parts)), tokens_for(max(p.count for p in parts))
        chunks = _bucket(-(-max(p.start + p.count for p in parts) // CHUNK))
        ids, positions, rows = (np.zeros((count, tokens), np.int64) for _ in range(3))
        rows[:] = -1
        tables = np.full((count, chunks * (CHUNK // block)), SCRATCH, np.int64)
        last = np.zeros(count, np.int64)
        for k, part in enumerate(parts):
            n, end = part.count, part.start + part.count
            blocks = np.array(part.blocks[:tables.shape[1]], np.int64)
            at = np.arange(part.start, end)
            tables[k, :blocks.size] = blocks
            ids[k, :n] = part.tokens[part.start:end]
            positions[k, :n], positions[k, n:] = at, end - 1
            rows[k, :n] = blocks[at // block] * block + at % block
            last[k] = n - 1
        with facula.no_grad(), rows_alike():
            step = Step(self.cache, positions, tables, rows, None if every else last)
            found = self.decoder(facula.tensor(ids), step)
            wanted = count, tokens if every else 1, self.decoder.sizes.vocabulary
            if tuple(found.shape) != wanted:
                raise ServingError(f"the decoder's logits are {tuple(found.shape)}, {wanted} are expected: "
                                   "step.wanted(x) comes before the last projection")
            logits: Array = found.float().numpy()
        return logits[:len(parts)]

    def warm_up(self, most: int) -> None:
        """Run made-up sequences: alone and together, at once and token by token, and compare, bit by bit. Nobody else
        may use the cache meanwhile."""
        cache, draw = self.cache, np.random.default_rng(0)
        longest = min(cache.capacity, CHUNK + 2)
        lengths = [longest, *(n for n in (3, min(20, longest), 7) if n <= longest)]
        while sum(map(cache.blocks_for, lengths)) > cache.blocks - 1:
            lengths.pop()
        texts = [draw.integers(0, self.decoder.sizes.vocabulary, n).tolist() for n in lengths]
        held = [cache.take(cache.blocks_for(n)) or [] for n in lengths]
        try:
            alone = [self._read(text, blocks, len(text)) for text, blocks in zip(texts, held, strict=True)]
            steps = [self._read(text, blocks, len(text) - 2) for text, blocks in zip(texts, held, strict=True)]
            if not all(map(_same, alone, steps)):
                self.exact = False
            parts = [Part(text, len(text) - 1, 1, blocks) for text, blocks in zip(texts, held, strict=True)]
            parts = (parts * most)[:max(2, most)] if len(parts) > 1 else parts
            for many in dict.fromkeys((2, len(parts))) if most > 1 and len(parts) > 1 else ():
                together = self.logits(parts[:many])
                if not all(_same(together[k], steps[k % len(texts)]) for k in range(many)):
                    self.alone = "logits are not the same bits together and alone"
        finally:
            for blocks in held:
                cache.give(blocks)

    def _read(self, text: list[int], blocks: list[int], whole: int) -> Array:
        """The last token's logits; `whole` tokens are read in pieces, the others one by one."""
        start = 0
        found: Array | None = None
        while start < len(text):
            count = min(PIECE, whole - start) if start < whole else 1
            found = self.logits([Part(text, start, count, blocks)])[:1]
            start += count
        assert found is not None
        return found


def tokens_for(count: int) -> int:
    """How many a step has of each sequence if `count` are wanted of one."""
    return next(n for n in TOKENS if n >= count)


def together(counts: list[int]) -> int:
    """How many of the sequences that want to read so many tokens do so in one step: one at least."""
    tokens = 0
    for k, count in enumerate(counts):
        tokens = max(tokens, tokens_for(count))
        if k and _bucket(k + 1) * tokens > ROWS:
            return k
    return len(counts)


def _bucket(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def _same(a: Any, b: Any) -> bool:
    return bool(a.tobytes() == b.tobytes())
