"""Decoders for tests of generation: a small transformer over `Step`, and some that break a promise."""

import facula
from facula import nn
from facula.serving.generation import ByteTokenizer, Language, Sizes


class Block(nn.Module):
    def __init__(self, layer, width, heads, kv_heads):
        super().__init__()
        self.layer, self.heads, self.kv_heads, self.size = layer, heads, kv_heads, width // heads
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * kv_heads * self.size)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x, step):
        count, tokens, width = x.shape
        y = self.norm(x)
        q = self.q(y).view(count, tokens, self.heads, self.size)
        k, v = self.kv(y).view(count, tokens, 2, self.kv_heads, self.size).unbind(2)
        x = x + self.out(step.attend(self.layer, q, k, v).reshape(count, tokens, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Of bytes; weights large enough that its texts differ."""

    def __init__(self, width=24, heads=4, kv_heads=2, layers=2, context=300, seed=5):
        super().__init__()
        facula.manual_seed(seed)
        self.sizes = Sizes(layers, kv_heads, width // heads, 257, context)
        self.tokens, self.places = nn.Embedding(257, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList([Block(k, width, heads, kv_heads) for k in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 257)
        with facula.no_grad():
            for p in self.head.parameters():
                p.mul_(4)
            self.head.bias[256] = -30.0  # the end: hardly ever
            self.head.bias[128:256] = -30.0  # text is ASCII

    def forward(self, ids, step):
        x = self.tokens(ids) + self.places(step.positions)
        for block in self.blocks:
            x = block(x, step)
        return self.head(self.norm(step.wanted(x)))


def plain(model, tokens):
    """Its logits of all tokens, without a cache, by attention as everybody writes it."""
    class Whole:
        positions = facula.arange(len(tokens))[None]

        def attend(self, layer, q, k, v):
            each = q.shape[2] // k.shape[2]
            k, v = (t.repeat_interleave(each, 2).transpose(1, 2) for t in (k, v))
            return nn.functional.scaled_dot_product_attention(q.transpose(1, 2), k, v, is_causal=True).transpose(1, 2)

        def wanted(self, x):
            return x
    with facula.no_grad():
        return model(facula.tensor([tokens]), Whole())[0]


class Mixing(GPT):
    """What one sequence is told depends on the others."""

    def forward(self, ids, step):
        logits = super().forward(ids, step)
        return logits + logits.mean((0, 1))


class Failing(GPT):
    """It fails of the byte 200, and gives what is no number for 201."""

    def forward(self, ids, step):
        logits = super().forward(ids, step)
        if (ids == 200).any():
            raise RuntimeError("exclaimed")
        return logits.masked_fill((ids == 201).any(1).view(-1, 1, 1), float("nan"))


def chat(messages):
    return "".join(f"<{m['role']}>{m['content']}\n" for m in messages) + "<assistant>"


def language(decoder=None, **more):
    return Language(decoder or GPT(), ByteTokenizer(), chat, **more)
