"""Steps per second of one training step at p = 113: fast path, the formula, and others doing the same job.

    python benchmarks/step.py [--p 113] [--repeats 7] [--lens PYTHON]

Every row is measured side by side: medians of interleaved repeats, ratios to the best of the others. PYTHON is the
interpreter of an environment that has TransformerLens (see lens.py).
"""
import argparse
import subprocess
import time
from pathlib import Path

import torch
from peers import EncoderLayer, addition, interleaved, stepper

from grok_nb.models.transformer import FastTransformer
from grok_nb.training.fit import torch_threads


def lens(python, p):
    "A function that sends a line to TransformerLens and waits until it is done."
    script = str(Path(__file__).parent / "lens.py")
    process = subprocess.Popen([python, script, str(p)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(line="go"):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    return ask


def gflop(p, n, d_model=128, d_mlp=512):
    "Operations (1e9) of a step's matrix products, forward and backward: written out densely, and as the fast path does it."
    classes, rows = p + -p % 16, 2 * p
    dense = n * (d_model * d_model + 2 * d_model * d_mlp + d_model * p) + (2 * p + 1) * 3 * d_model**2  # keys, values from tables
    fast = (n * d_mlp * classes + n * 8 * (classes + d_mlp)  # readout; bags of 8 table rows a pair
            + rows * d_model * (d_model + classes + d_mlp)  # values, and their tables for four heads together
            + (classes + d_mlp) * d_model**2 + classes * d_model * d_mlp)  # merged weights
    return 6 * dense / 1e9, 6 * fast / 1e9


def sgemm(n, inner, out, repeats=9):
    "Best GFLOP/s of x @ W.T for x (n, inner), W (out, inner)."
    x, W = torch.randn(n, inner), torch.randn(out, inner)
    best = 0
    for _ in range(repeats):
        before = time.perf_counter()
        x @ W.T
        best = max(best, 2e-9 * n * inner * out / (time.perf_counter() - before))
    return best


def measure(p, threads, repeats, ask):
    "Print one table for a number of threads."
    pairs, labels = addition(p)
    n = len(pairs)
    with torch_threads(threads):
        steps = {
            "fast": stepper(FastTransformer(p), pairs, labels, fused_loss=True),
            "formula": stepper(FastTransformer(p).slow(), pairs, labels),
            "TransformerEncoderLayer": stepper(EncoderLayer(p), pairs, labels),
        }
        if ask:
            ask(f"threads {threads}")
            steps["TransformerLens"] = ask
        others = [name for name in steps if name != "fast"]
        steps["fast, noise on a and b"] = stepper(FastTransformer(p), pairs, labels, 2, fused_loss=True)
        steps["fast, noise on all"] = stepper(FastTransformer(p), pairs, labels, 3, fused_loss=True)
        seconds = interleaved(steps, repeats)
        rate = max(sgemm(n, 128, 640), sgemm(n, 512, 128), sgemm(n, 640, 512))
    best = min(seconds[name] for name in others)
    print(f"\np = {p}, {n} pairs, {threads} thread(s)")
    print(f"{'':26}{'steps/s':>9}{'against the best other':>24}{'of fast':>10}")
    for name, s in seconds.items():
        print(f"{name:26}{1 / s:9.2f}{best / s:23.2f}x{seconds['fast'] / s:10.2f}")
    dense, own = gflop(p, n)
    print(f"best product rate {rate:.0f} GFLOP/s; written out densely a step has {dense:.2f} GFLOP, the fast path does {own:.2f}: "
          f"{dense / seconds['fast']:.0f} GFLOP/s ({dense / seconds['fast'] / rate:.0%}) of the dense step's, "
          f"{own / seconds['fast']:.0f} ({own / seconds['fast'] / rate:.0%}) of its own")
    dense_ab = dense + 6e-9 * n * (128 * 128 + 2 * 4 * 128)  # noise: mixed, then through W_V; and through the scores, two positions
    print(f"with noise on a and b {dense_ab:.2f} GFLOP must be done: {dense_ab / seconds['fast, noise on a and b'] / rate:.0%} of the product rate")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--p", type=int, default=113)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--lens", help="interpreter of an environment with TransformerLens")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, float32")
    ask = lens(args.lens, args.p) if args.lens else None
    for threads in (1, 2):
        measure(args.p, threads, args.repeats, ask)
