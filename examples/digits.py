"""Learn to read handwritten digits: `make demo`, or `facula run examples/digits.py`.

The data comes with scikit-learn: 1797 images of 8 x 8. A two-layer network sees four fifths of them.
"""

import time

STARTED = time.perf_counter()

import torch  # noqa: E402  (its import is part of the time that is printed)
from sklearn.datasets import load_digits  # noqa: E402
from torch import nn  # noqa: E402
from tqdm import tqdm  # noqa: E402

EPOCHS, BATCH = 30, 64


def load():
    """Training and test sets: images as (N, 64) in [0, 1], labels as (N,)."""
    digits = load_digits()
    images = torch.from_numpy((digits.data / 16).astype("float32"))
    labels = torch.from_numpy(digits.target.astype("int64"))
    order = torch.randperm(len(labels))
    train, test = order[360:], order[:360]
    return images[train], labels[train], images[test], labels[test]


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        right = (model(images).argmax(dim=1) == labels).float().mean().item()
    model.train()
    return right


def main():
    torch.manual_seed(0)
    images, labels, test_images, test_labels = load()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    print(f"torch {torch.__version__}; {len(labels)} digits to learn from, {len(test_labels)} for the test")
    print(f"test accuracy before training: {accuracy(model, test_images, test_labels):.1%}")

    begin, first = time.perf_counter(), None
    with tqdm(range(EPOCHS), unit="epoch") as bar:
        for _ in bar:
            total = 0.0
            order = torch.randperm(len(labels))
            for batch in order.split(BATCH):
                loss = criterion(model(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(batch)
                first = first or time.perf_counter() - STARTED
            right = accuracy(model, test_images, test_labels)
            bar.set_postfix(loss=f"{total / len(labels):.4f}", test=f"{right:.1%}")
    seconds = time.perf_counter() - begin

    print(f"test accuracy after {EPOCHS} epochs: {right:.1%}")
    print(f"trained in {seconds:.1f} s; from the start of the program to its first step: {first:.2f} s")


if __name__ == "__main__":
    main()
