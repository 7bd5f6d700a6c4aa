"""Trains a small transformer on a few lines of bytes, and serves it: the decoder that `facula serve --generate` takes.

    python examples/generate.py                       trains, serves within this process, asks
    facula serve generate:model --generate            serves it (in this folder): /v1/completions, /v1/chat/completions
"""

import asyncio
import json

import facula as torch
from facula import nn
from facula.serving import App, Repository
from facula.serving.generation import ByteTokenizer, Language, Sizes

TEXT = "the sun is a star. a facula is a bright spot on the sun. spots come and go. the star stays. "
WIDTH, HEADS, LAYERS, CONTEXT = 64, 4, 2, 256


class Block(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, step):
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, HEADS, WIDTH // HEADS)).unbind(2)
        x = x + self.out(step.attend(self.layer, q, k, v).flatten(-2))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    sizes = Sizes(layers=LAYERS, kv_heads=HEADS, head_dim=WIDTH // HEADS, vocabulary=257, context=CONTEXT)

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(257, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList([Block(k) for k in range(LAYERS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 257)

    def forward(self, ids, step):
        x = self.tokens(ids) + self.places(step.positions)
        for block in self.blocks:
            x = block(x, step)
        return self.head(self.norm(step.wanted(x)))


class Whole:
    """What `Step` is while training: whole sequences, and no cache."""

    def __init__(self, tokens):
        self.positions = torch.arange(tokens)

    def attend(self, layer, q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    def wanted(self, x):
        return x


def model(steps=150):
    """What is served."""
    torch.manual_seed(0)
    decoder, data = Decoder(), torch.tensor([*(TEXT * 4).encode()])
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    for _ in range(steps):
        starts = torch.randint(0, len(TEXT), (16,))
        rows = data[starts[:, None] + torch.arange(65)]
        logits = decoder(rows[:, :-1], Whole(64))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Language(decoder, ByteTokenizer(), chat_template=lambda messages: messages[-1]["content"])


async def ask(app, body):
    """POST /v1/completions, without a network."""
    sent, given = [], [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive():
        return given.pop() if given else await asyncio.Event().wait()

    async def send(message):
        sent.append(message.get("body", b""))
    await app({"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}, receive, send)
    return json.loads(b"".join(sent))["choices"][0]["text"]


def main():
    models = Repository()
    models.add("sun", handler=model())

    async def several():
        prompts = ["the sun is", "a facula is", "spots come"]
        asked = [ask(App(models), {"model": "sun", "prompt": p, "max_tokens": 24, "temperature": 0}) for p in prompts]
        return zip(prompts, await asyncio.gather(*asked), strict=True)
    for prompt, text in asyncio.run(several()):
        print(prompt + "|" + text)
    models.drain(5)


if __name__ == "__main__":
    main()
