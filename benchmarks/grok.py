"""A whole run to grokking: `fit` against the same run by the formula in a plain torch loop: python benchmarks/grok.py

The demo's task (p = 59, d_model 64), standard training, the same evaluation of all pairs every 25 steps; both stop when
test accuracy has reached 95 %. One thread, in turn.
"""
import argparse
import statistics
import time

import torch
from torch import nn

from grok_nb.cli.train import demo_configs
from grok_nb.training.fit import torch_threads
from grok_nb.training.loop import Training, train_loop
from grok_nb.training.network import build_model, task_of


def fast(config):
    "Steps that `fit`'s loop takes."
    t = Training([config])
    reached = lambda t: bool(t.rows[0]) and t.rows[0][-1]["test/acc"] >= 0.95  # noqa: E731
    train_loop(t, before=reached)
    return t.step


def plain(config):
    "Steps that the plain loop takes."
    task = task_of(config)
    model = build_model(config, task).slow()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    for step in range(config.steps):
        if step % config.log_every == 0:
            with torch.no_grad():
                right = model(task.pairs).argmax(1) == task.labels
            if right[~task.train].float().mean() >= 0.95:
                return step
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(task.x_train), task.y_train).backward()
        optimizer.step()
    return config.steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    config, seconds = demo_configs()["standard"], {fast: [], plain: []}
    with torch_threads(1):
        for _ in range(args.repeats):
            for run, times in seconds.items():
                start = time.perf_counter()
                steps = run(config)
                times.append((time.perf_counter() - start) / steps)
                print(f"{run.__name__}: {steps} steps, {1000 * times[-1]:.1f} ms each", flush=True)
    print(f"time per step to grokking, formula over fast: {statistics.median(seconds[plain]) / statistics.median(seconds[fast]):.2f}x")
