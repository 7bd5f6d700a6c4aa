"""A causal self-attention block by hand: masks, LayerNorm, residuals, clipping, warm-up."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Attention(nn.Module):
    def __init__(self, d, heads, length):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d)
        self.register_buffer("mask", torch.tril(torch.ones(length, length)).bool(), persistent=False)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (z.view(b, t, self.heads, d // self.heads).transpose(1, 2) for z in (q, k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(d // self.heads)
        scores = scores.masked_fill(~self.mask[:t, :t], float("-inf"))
        y = F.softmax(scores, dim=-1) @ v
        return self.out(y.transpose(1, 2).contiguous().view(b, t, d))


class Block(nn.Module):
    def __init__(self, d, heads, length):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = Attention(d, heads, length)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x):
        x = x + self.attention(self.n1(x))
        return x + self.mlp(self.n2(x))


torch.manual_seed(2)
vocab, d, length = 11, 16, 12
embed, place = nn.Embedding(vocab, d), nn.Parameter(torch.randn(length, d) * 0.02)
blocks = nn.ModuleList(Block(d, 4, length) for _ in range(2))
head = nn.Linear(d, vocab)
parameters = [*embed.parameters(), place, *blocks.parameters(), *head.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=3e-3)
warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 10))
for step in range(30):
    start = torch.randint(0, vocab, (8, 1))
    tokens = (start + torch.arange(length + 1) * 3) % vocab
    x = embed(tokens[:, :-1]) + place
    for block in blocks:
        x = block(x)
    loss = F.cross_entropy(head(x).flatten(0, 1), tokens[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    warmup.step()
    if step % 6 == 0:
        print(f"{step:2d} loss {loss.item():.4f} norm {norm:.3f} lr {warmup.get_last_lr()[0]:.5f}")
