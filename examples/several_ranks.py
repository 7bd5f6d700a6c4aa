"""Data parallel training: a model on each rank, gradients averaged. The program of torch.distributed's tutorials.

    facula launch --nproc-per-node 2 examples/several_ranks.py
    mpiexec -n 2 facula run examples/several_ranks.py --backend mpi
"""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="gloo")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    dist.init_process_group(options.backend)
    rank, size = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(0)  # the same data on every rank; the sampler gives each its share
    inputs = torch.randn(512, 8)
    data = TensorDataset(inputs, inputs @ torch.randn(8, 1))
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=32 // size, sampler=sampler)

    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(options.epochs):
        sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()  # gradients are averaged meanwhile
            optimizer.step()
        total = loss.detach().clone()
        dist.all_reduce(total)
        if rank == 0:
            print(f"epoch {epoch}: loss {total.item() / size:.4f} on {size} ranks")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
