"""What a model has to be that generates text: the side of it that a decoder's author sees.

A decoder is a Module with `sizes` (a `Sizes`) that is called as `decoder(ids, step)`: `ids` are the next tokens (S, M)
of S sequences, `step` knows what came before. Instead of attention over the tokens at hand it calls `step.attend`,
which keeps their keys and values and attends over all that the sequence has; before the last projection it calls
`step.wanted`, as hardly any logits are asked for. It returns logits (S, W, vocabulary). It may not mix sequences.

S and M are rounded up, so that shapes repeat and plans with them: some rows are of nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..elements import Array
from ..settings import ConfigError

if TYPE_CHECKING:
    from .cache import PagedCache

SCRATCH = 0  # the block that nobody has: what is of nobody is written here, as zeros
CHUNK = 128  # keys whose products are summed at once: a sum's order follows from this, not from how many there are


@dataclass(frozen=True)
class Sizes:
    """Layers of attention, heads of keys and values, their width, tokens in the vocabulary, tokens of a sequence."""

    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int

    def __post_init__(self) -> None:
        for name in ("layers", "kv_heads", "head_dim", "vocabulary", "context"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(f"sizes: {name} is a whole number from 1, got {getattr(self, name)!r}")


class Language:
    """A decoder with what turns text into its tokens.

    decoder        a Module as this file's head describes
    tokenizer      a `text.Tokenizer`, as `ByteTokenizer()`
    chat_template  Jinja's text, or a function of (messages) to text; None: no chats
    eos            tokens that end a text, beside the tokenizer's own

    Example:
        >>> from facula.serving import App, Repository
        >>> from facula.serving.generation import ByteTokenizer, Language
        >>> def model(decoder):
        ...     models = Repository()
        ...     models.add("gpt", handler=Language(decoder, ByteTokenizer()))
        ...     return App(models)
    """

    def __init__(self, decoder: Any, tokenizer: Any = None,
                 chat_template: str | Callable[[list[dict[str, str]]], str] | None = None,
                 eos: tuple[int, ...] = ()) -> None:
        if not isinstance(getattr(decoder, "sizes", None), Sizes):
            raise ConfigError(f"{type(decoder).__name__} is no decoder: it has no `sizes`, which are a "
                              "facula.serving.generation.Sizes")
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.eos = frozenset(eos)


class Step:
    """The next tokens of some sequences, and the cache of what came before.

    positions   (S, M), int64: where in its sequence each token stands
    """

    def __init__(self, cache: PagedCache, positions: Array, tables: Array, rows: Array, last: Array | None) -> None:
        """Of NumPy arrays: `tables` (S, B) has each sequence's blocks, as many as fill whole chunks; `rows` (S, M) is
        where each token's keys go, counted in tokens, -1 of nobody's; `last` (S) which token's logits are wanted, None:
        every one's."""
        import facula
        self.cache = cache
        sizes, block = cache.sizes, cache.block_tokens
        count, tokens = positions.shape
        heads = np.arange(sizes.kv_heads)
        self._nobody = facula.tensor(rows < 0).view(count, tokens, 1, 1)
        rows = np.where(rows < 0, SCRATCH * block, rows)
        places = ((rows // block)[..., None] * sizes.kv_heads + heads) * block + (rows % block)[..., None]
        self._rows = facula.tensor(places.reshape(-1))
        self._table = facula.tensor((tables[:, None, :] * sizes.kv_heads + heads[:, None]).reshape(-1))
        self.positions = facula.tensor(positions)
        self._last = None if last is None else facula.tensor(last + np.arange(count) * tokens)
        self._chunks = tables.shape[1] * block // CHUNK
        where = facula.arange(self._chunks * CHUNK).view(1, 1, self._chunks, 1, 1, CHUNK)
        self._hidden = where > self.positions.view(count, 1, 1, 1, tokens, 1)

    def attend(self, layer: int, q: Any, k: Any, v: Any, scale: float | None = None) -> Any:
        """Attention of each token to itself and to what came before it in its sequence.

        q is (S, M, heads, head_dim), k and v (S, M, kv_heads, head_dim), `heads` a multiple of `kv_heads`; the result
        is as q. `scale` is that of the scores, `head_dim ** -0.5` by default.

        A token's result has the same bits whatever else is in the step, and however the tokens came: at once or one
        after another. So sums go over chunks of keys, and pairs of chunks; a chunk more, with no weight in it, adds 0.

        What other sequences have left in blocks of the cache has no weight; and it is finite: where a sequence's own
        values are not, its result is NaN, so its logits are, and its blocks are cleared (`GenerationLane`).
        """
        sizes, n = self.cache.sizes, self._chunks
        count, tokens, heads, width = q.shape
        if k.shape != (count, tokens, sizes.kv_heads, sizes.head_dim) or v.shape != k.shape or width != sizes.head_dim \
                or heads % sizes.kv_heads:
            raise ValueError(f"attend: q is {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; the decoder's "
                             f"sizes say {sizes.kv_heads} heads of {sizes.head_dim} for k and v")
        each = heads // sizes.kv_heads
        self.cache.write(layer, self._rows, k.masked_fill(self._nobody, 0.0), v.masked_fill(self._nobody, 0.0))
        shape = (count, sizes.kv_heads, n, CHUNK, width)
        keys = self.cache.read(self.cache.keys[layer], self._table).view(shape)
        values = self.cache.read(self.cache.values[layer], self._table).view(shape)
        q = q.view(count, tokens, sizes.kv_heads, each, width).permute(0, 2, 3, 1, 4)
        q = q.reshape(count, sizes.kv_heads, 1, each * tokens, width)
        scores = (q @ keys.transpose(-1, -2)).view(count, sizes.kv_heads, n, each, tokens, CHUNK)
        scores = (scores * (width ** -0.5 if scale is None else scale)).masked_fill(self._hidden, -float("inf"))
        weights = (scores - scores.amax((2, 5), keepdim=True)).exp()
        sums = _paired(weights.sum(-1))  # (S, kv_heads, each, M)
        found = _paired(weights.view(count, sizes.kv_heads, n, each * tokens, CHUNK) @ values)
        found = found.view(count, sizes.kv_heads, each, tokens, width) / sums.unsqueeze(-1)
        found = found + (found - found)  # infinity becomes NaN, which no later layer can hide
        return found.permute(0, 3, 1, 2, 4).reshape(count, tokens, heads, width)

    def wanted(self, x: Any) -> Any:
        """Of (S, M, D) the tokens whose logits are asked for: (S, W, D), W being 1 or M."""
        if self._last is None:
            return x
        return x.reshape(-1, x.shape[-1]).index_select(0, self._last).unsqueeze(1)


def _paired(x: Any) -> Any:
    """The sum over dimension 2, a power of two: of neighbours, then of neighbouring pairs. Zeros at its end change no
    bit (a sum of 0 has no sign, as -0 + 0 has none either)."""
    while x.shape[2] > 1:
        pairs = x.unflatten(2, (-1, 2))
        x = pairs.select(3, 0) + pairs.select(3, 1)
    x = x.select(2, 0)
    return x.masked_fill(x == 0, 0.0)
