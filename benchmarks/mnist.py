"""MNIST steps per second of `fit` against the same network and optimiser over a torch DataLoader: python benchmarks/mnist.py

All count everything that a run does: batches, the loss, AdamW, and the same evaluation every 100 steps. Two data sets
for the DataLoader: tensors that are ready (nothing is left to do for an image but to pick it), and images as they are
stored, made into a tensor when they are asked for, as torchvision's MNIST with ToTensor does. One thread, medians of
interleaved repeats; and the time of a step's matrix products alone, which no loop can go below.
"""
import argparse
import time

import numpy as np
import torch
from peers import interleaved
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from grok_nb.tasks.task import make_task
from grok_nb.training.network import build_model
from grok_nb.training.fit import fit, torch_threads
from grok_nb.training.config import paper_config


class StoredImages(Dataset):
    "Images as bytes; an item is a PIL image made into a float tensor (what torchvision's MNIST and ToTensor do)."

    def __init__(self, x, y):
        self.images, self.labels = (x * 255).round().byte().view(-1, 28, 28), y

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = Image.fromarray(self.images[i].numpy())
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(28, 28, 1).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div(255).flatten(), int(self.labels[i])


def loader_run(config, task, data):
    "The usual loop: a DataLoader with shuffling, as torch's tutorials write it."
    model = build_model(config, task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    loader = DataLoader(data, batch_size=config.batch_size, shuffle=True)
    step = 0
    while step < config.steps:
        for x, y in loader:
            optimizer.zero_grad()
            loss = ((model(x) - nn.functional.one_hot(y, 10).float()) ** 2).mean()
            loss.backward()
            optimizer.step()
            step += 1
            if step % config.log_every == 0:
                with torch.no_grad():
                    for a, b in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
                        (model(a).argmax(1) == b).float().mean().item()
            if step == config.steps:
                return


def products(config, task, repeats=50):
    "Milliseconds of the matrix products of a step, one after another."
    sizes = [(task.x_train.shape[1], config.width), (config.width, config.width), (config.width, task.n_classes)]
    jobs = []
    for i, (a, b) in enumerate(sizes):
        x, w, g = torch.randn(config.batch_size, a), torch.randn(b, a), torch.randn(config.batch_size, b)
        jobs += [lambda x=x, w=w: x @ w.T, lambda x=x, g=g: g.T @ x] + [lambda g=g, w=w: g @ w] * (i > 0)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for job in jobs:
            job()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    config = paper_config("mnist", steps=args.steps, stop_factor=0, frames=0)
    task = make_task("mnist")
    ready, stored = TensorDataset(task.x_train, task.y_train), StoredImages(task.x_train, task.y_train)
    assert torch.allclose(stored[7][0], task.x_train[7]) and stored[7][1] == task.y_train[7]
    with torch_threads(1):
        jobs = {"fit": lambda: fit(config, quiet=True, task=task), "DataLoader, tensors": lambda: loader_run(config, task, ready),
                "DataLoader, stored images": lambda: loader_run(config, task, stored)}
        seconds = interleaved(jobs, args.repeats, inner=1, warmup=1)
        floor = products(config, task)
    for name, s in seconds.items():
        print(f"{name:26} {args.steps / s:5.0f} steps/s; fit does {s / seconds['fit']:.2f} times as many")
    print(f"products of a step alone: {floor:.2f} ms, {100 * floor * args.steps / 1000 / seconds['fit']:.0f} % of fit's time")
