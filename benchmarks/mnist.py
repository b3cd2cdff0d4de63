"""MNIST steps per second of `fit` against the same network and optimiser over a torch DataLoader: python benchmarks/mnist.py

Both count everything that a run does: batches, the loss, AdamW, and the same evaluation every 100 steps. One thread,
medians of interleaved repeats.
"""
import argparse

import torch
from peers import interleaved
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from grok_nb.tasks import make_task
from grok_nb.train import build_model, fit, paper_config, torch_threads


def loader_run(config, task):
    "The usual loop: a DataLoader with shuffling, as torch's tutorials write it."
    model = build_model(config, task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    loader = DataLoader(TensorDataset(task.x_train, task.y_train), batch_size=config.batch_size, shuffle=True)
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    config = paper_config("mnist", steps=args.steps, stop_factor=0, frames=0)
    task = make_task("mnist")
    with torch_threads(1):
        jobs = {"fit": lambda: fit(config, quiet=True, task=task), "DataLoader": lambda: loader_run(config, task)}
        seconds = interleaved(jobs, args.repeats, inner=1, warmup=1)
    print({k: f"{args.steps/s:.0f} steps/s" for k, s in seconds.items()}, f"{seconds['DataLoader']/seconds['fit']:.2f}x")
