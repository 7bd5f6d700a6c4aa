"""A character model: an embedding table of logits, sampled from."""
import torch
import torch.nn as nn
from torch.nn import functional as F

text = "the quick brown fox jumps over the lazy dog. the dog sleeps. the fox runs away over the hill. " * 4
chars = sorted(set(text))
stoi = {c: i for i, c in enumerate(chars)}
itos = dict(enumerate(chars))
data = torch.tensor([stoi[c] for c in text], dtype=torch.long)
torch.manual_seed(1337)


def get_batch(block=8, batch=16):
    ix = torch.randint(len(data) - block, (batch,))
    x = torch.stack([data[i:i + block] for i in ix])
    y = torch.stack([data[i + 1:i + block + 1] for i in ix])
    return x, y


class Bigram(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Embedding(vocab, vocab)

    def forward(self, idx, targets=None):
        logits = self.table(idx)
        if targets is None:
            return logits, None
        b, t, c = logits.shape
        return logits, F.cross_entropy(logits.view(b * t, c), targets.view(b * t))

    def generate(self, idx, n):
        for _ in range(n):
            logits, _ = self(idx)
            probs = F.softmax(logits[:, -1, :], dim=-1)
            idx = torch.cat((idx, torch.multinomial(probs, num_samples=1)), dim=1)
        return idx


model = Bigram(len(chars))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-1)
for step in range(60):
    xb, yb = get_batch()
    logits, loss = model(xb, yb)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} loss {loss.item():.4f}")
print(f"final {loss.item():.4f}")
out = model.generate(torch.zeros((1, 1), dtype=torch.long), 20)
print(out.shape, len("".join(itos[i] for i in out[0].tolist())))
