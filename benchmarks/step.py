"""Steps per second of one training step at p = 113: fast path, the formula, torch.nn.TransformerEncoderLayer.

    python benchmarks/step.py [--p 113] [--repeats 7]

Every row is measured side by side: medians of interleaved repeats, ratios to the better of the two others.
"""
import argparse

import torch
from peers import EncoderLayer, addition, interleaved, stepper

from grok_nb.models import FastTransformer
from grok_nb.train import torch_threads


def measure(p, threads, repeats):
    "Print one table for a number of threads."
    pairs, labels = addition(p)
    fast = FastTransformer(p)
    with torch_threads(threads):
        steps = {
            "fast": stepper(fast, pairs, labels, fused_loss=True),
            "formula": stepper(FastTransformer(p).slow(), pairs, labels),
            "TransformerEncoderLayer": stepper(EncoderLayer(p), pairs, labels),
            "fast, noise on a and b": stepper(FastTransformer(p), pairs, labels, 2, fused_loss=True),
            "fast, noise on all": stepper(FastTransformer(p), pairs, labels, 3, fused_loss=True),
        }
        seconds = interleaved(steps, repeats)
    best = min(seconds["formula"], seconds["TransformerEncoderLayer"])
    print(f"\np = {p}, {len(pairs)} pairs, {threads} thread(s)")
    print(f"{'':26}{'steps/s':>9}{'against the better other':>28}{'of fast':>10}")
    for name, s in seconds.items():
        print(f"{name:26}{1 / s:9.2f}{best / s:27.2f}x{seconds['fast'] / s:10.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--p", type=int, default=113)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, float32")
    for threads in (1, 2):
        measure(args.p, threads, args.repeats)
