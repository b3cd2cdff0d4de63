"The networks that the benchmarks compare with, and how they are timed: one training step each."
import time

import numpy as np
import torch
from torch import nn

from grok_nb.models.transformer_fast import FastTransformer
from grok_nb.models.losses import cross_entropy


class EncoderLayer(nn.Module):
    "The paper's transformer by torch's own layer: no dropout, no norm, the last position alone is unembedded."

    def __init__(self, p, d_model=128, n_heads=4, d_mlp=512):
        super().__init__()
        self.p, self.embed, self.pos = p, nn.Embedding(p + 1, d_model), nn.Parameter(torch.randn(3, d_model))
        self.layer = nn.TransformerEncoderLayer(d_model, n_heads, d_mlp, dropout=0.0, batch_first=True)
        self.layer.norm1, self.layer.norm2 = nn.Identity(), nn.Identity()
        self.unembed = nn.Linear(d_model, p, bias=False)

    def forward(self, pairs, noise=None):
        x = self.embed(nn.functional.pad(pairs, (0, 1), value=self.p)) + self.pos
        if noise is not None:
            x = x + nn.functional.pad(noise, (0, 0, 0, 3 - noise.shape[1]))
        return self.unembed(self.layer(x)[:, -1])


def addition(p, train_frac=0.3, seed=0):
    "Pairs (n, 2) and labels (n,) of addition modulo p, in the order of a task's."
    n = int(train_frac * p * p)
    index = torch.randperm(p * p, generator=torch.Generator().manual_seed(seed))[:n].sort().values
    pairs = torch.stack([index // p, index % p], 1)
    return pairs, pairs.sum(1) % p


def stepper(model, pairs, labels, noise_positions=0, fused_loss=False, method=None, lap=lambda part: None):
    """A function that takes one training step: noise, forward, backward, AdamW, accuracy from the same logits.

    `method` is a penalty of ours; `lap` is called with the name of each part when it is done."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98), fused=True)
    every = pairs if method is None else method.inputs(pairs[None])[0]
    x = model.prepare(every) if isinstance(model, FastTransformer) else every
    d_model = 128 if not hasattr(model, "W_E") else model.W_E.shape[1]

    def step():
        noise = torch.empty(len(pairs), noise_positions, d_model).normal_(0, 0.4) if noise_positions else None
        lap("noise")
        out = model(x, noise)
        lap("forward")
        logits = out[: len(labels)]
        if fused_loss:
            losses, right = cross_entropy(logits, labels)
            loss, accuracy = losses.mean(), right.float().mean()
        else:
            loss, accuracy = nn.functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()
        if method is not None:
            loss = loss + method.penalty(out[None], {}, 0).sum()
        lap("loss, accuracy")
        optimizer.zero_grad()
        loss.backward()
        lap("backward")
        optimizer.step()
        accuracy.item()
        lap("AdamW")

    return step


def processor_time():
    "Seconds of this process: of the processor on one thread, which other programs do not lengthen; of the wall on more."
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def interleaved(steps, repeats=7, inner=3, warmup=2):
    """Median seconds of each function in `steps` (name -> function), in turn, so that a slow moment hits all of them.

    A function that has its work done by another process gives the seconds itself; others give None."""
    times = {name: [] for name in steps}
    for f in steps.values():
        for _ in range(warmup):
            f()
    for _ in range(repeats):
        for name, f in steps.items():
            start, elsewhere = processor_time(), 0.0
            for _ in range(inner):
                elsewhere += f() or 0.0
            times[name].append((elsewhere or processor_time() - start) / inner)
    return {name: float(np.median(t)) for name, t in times.items()}
