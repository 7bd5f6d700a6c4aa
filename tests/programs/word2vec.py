"""Skip-gram with negative sampling over a tiny corpus."""
import torch
import torch.nn as nn
import torch.nn.functional as F

corpus = "king queen man woman royal palace king man queen woman palace royal apple fruit pear apple pear fruit".split()
vocab = {w: i for i, w in enumerate(dict.fromkeys(corpus))}
ids = [vocab[w] for w in corpus]
pairs = [(ids[i], ids[j]) for i in range(len(ids)) for j in range(max(0, i - 2), min(len(ids), i + 3)) if i != j]
torch.manual_seed(7)


class SkipGram(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.inside = nn.Embedding(n, d)
        self.outside = nn.Embedding(n, d)
        nn.init.uniform_(self.inside.weight, -0.5 / d, 0.5 / d)
        nn.init.zeros_(self.outside.weight)

    def forward(self, centre, context, negative):
        c = self.inside(centre)
        positive = (c * self.outside(context)).sum(-1)
        others = torch.bmm(self.outside(negative), c.unsqueeze(2)).squeeze(2)
        return -(F.logsigmoid(positive) + F.logsigmoid(-others).sum(-1)).mean()


model = SkipGram(len(vocab), 8)
optimizer = torch.optim.Adagrad(model.parameters(), lr=0.5)
centre, context = (torch.tensor(t) for t in zip(*pairs))
for step in range(50):
    negative = torch.randint(0, len(vocab), (len(pairs), 3))
    loss = model(centre, context, negative)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"{step:2d} {loss.item():.4f}")
e = F.normalize(model.inside.weight.detach(), dim=1)
similar = e @ e.T
print(f"{similar[vocab['apple'], vocab['pear']].item():.2f}", similar.shape,
      (similar - 2 * torch.eye(len(vocab))).max(dim=1).values.shape)
