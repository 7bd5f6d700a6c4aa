"""A small training that is watched. `facula run examples/watching.py`, then `facula monitor` beside it."""

import sys

import torch
from torch import nn

import facula.monitor as monitor

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
torch.manual_seed(0)
x = torch.randn(512, 2)
y = (x.square().sum(1) < 1.4).long()
model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

with monitor.init(project="circle", config={"lr": 0.01, "width": 32}, tags=["example"]) as run:
    run.log({"model": monitor.Graph(model, x)}, step=0)
    monitor.watch(model, log="all", log_freq=200)
    for step in monitor.progress(range(steps)):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            run.log({"train/loss": loss, "train/accuracy": (model(x).argmax(1) == y).float().mean()}, step=step)
    print(f"{len(run.alarms)} alarms")
    print(f"accuracy {run.summary['train/accuracy']:.3f}; in {run.path}")
