"""Steps per second of one training step at p = 113: fast path, the formula, and others doing the same job.

    python benchmarks/step.py [--p 113] [--repeats 7] [--threads 1 2] [--lens PYTHON] [--jax PYTHON] [--compile]

Every row is measured side by side: medians of interleaved repeats, ratios to the best of the others, and to JAX; on one
thread in seconds of the processor, so that other programs on the machine lengthen nobody's step. PYTHON is
the interpreter of an environment that has TransformerLens (see lens.py), or JAX (see jaxstep.py). Below the rows: what
each part of a step takes, the least time that its products and its large arrays need on this machine at the best rate of
either, and what its products, and all its operations, take each by itself, with its numbers in the cache.
"""
import argparse
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from peers import EncoderLayer, addition, interleaved, processor_time, stepper
from torch.utils._python_dispatch import TorchDispatchMode

from grok_nb.methods.penalties import Abelian, with_mirrors
from grok_nb.models.products import product
from grok_nb.models.transformer_fast import FastTransformer
from grok_nb.training.fit import torch_threads

OURS = {"fast": (0, None), "noise on a and b": (2, None), "noise on all": (3, None), "abelian penalty": (0, Abelian)}


def other(python, script, *args):
    "A function that sends a line to a program of another environment and gives the seconds that it says it took."
    command = [python, str(Path(__file__).parent / script), *map(str, args)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(line="go"):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer.startswith("done "), f"{script} gave {answer!r}"
        return float(answer.split()[1])

    return ask


def best(function, repeats=15):
    "Least seconds of a call."
    times = []
    for _ in range(repeats):
        before = processor_time()
        function()
        times.append(processor_time() - before)
    return min(times)


def product_rate(n):
    "GFLOP/s of the best of a step's products."
    rates = []
    for inner, out in ((128, 640), (512, 128), (640, 128)):
        x, W = torch.randn(1, n, inner), torch.randn(1, out, inner)
        rates.append(2e-9 * n * inner * out / best(lambda x=x, W=W: product(x, W)))
    return max(rates)


def memory_rate(n):
    "GB/s of reading and writing arrays as large as the hidden units of all pairs."
    x, y = torch.randn(n, 512), torch.empty(n, 512)
    return 8e-9 * x.numel() / best(lambda: torch.add(x, 1, out=y))


def needs(p, n, extra=0, d=128, hidden=512, heads=4):
    """name -> (GFLOP of the matrix products of a step, MB that its large arrays must be written and read).

    A product costs 2 operations a multiplication, and twice that again in the backward pass, or once where no gradient by
    the noise is asked for. An array of n rows counts once where it is made and once at each use; tables and weights are
    small enough for the cache.
    """
    width = p + -p % 16 + hidden  # direct logits and hidden units, side by side
    merged = width * d * d + p * d * hidden + 2 * p * d * (d + width)
    read = hidden * p  # from hidden units to logits
    tail = 4 * hidden + 8 * p  # hidden: made, to logits, mask, to weights; logits, loss and their gradients
    def table(rows): return (6 * (rows * (read + 2 * heads * width) + merged) / 1e9, 4e-6 * rows * (tail + 6 * width))
    ab = 6 * read + 6 * d * width + 4 * 2 * d * (d + heads)
    every = 6 * read + 6 * d * width + 4 * (3 * 2 + 1) * d * d + 6 * d * d  # keys, values, query without, output with d_x
    return {
        "fast": table(n),
        "noise on a and b": (n * ab / 1e9, 4e-6 * n * (tail + 3 * 2 * d + 8 * 2 * d + 5 * d)),  # noise; values; mixture
        "noise on all": (n * every / 1e9, 4e-6 * n * (tail + 4 * 3 * d + 7 * 6 * d + 10 * d)),  # noise; keys, values; others
        "abelian penalty": table(n + extra),
    }


def shares(pairs, labels, p, positions, method, repeats=20):
    "Milliseconds of each part of a step (medians)."
    times, clock = defaultdict(list), [0.0]

    def lap(part):
        now = processor_time()
        times[part].append(1e3 * (now - clock[0]))
        clock[0] = now

    step = stepper(FastTransformer(p), pairs, labels, positions, True, method and method(), lap)
    for _ in range(repeats):
        clock[0] = processor_time()
        step()
    return {part: float(np.median(t[2:])) for part, t in times.items()}


class Operations(TorchDispatchMode):
    "Notes what torch is asked for."

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator._schema.name != "aten::unsqueeze_":  # it changes shapes in place: again and again is not the same
            self.found.append((operator, args, kwargs or {}))
        return operator(*args, **(kwargs or {}))


PRODUCTS = "mm", "bmm", "addmm", "baddbmm", "_linear_pointwise"


def operations_alone(pairs, labels, p, positions, method):
    "Milliseconds of (a step's products, all its operations): each by itself, again and again, at its fastest."
    step = stepper(FastTransformer(p), pairs, labels, positions, True, method and method())
    step()
    with Operations() as operations:
        step()
    products = rest = 0.0
    with torch.no_grad():
        for operator, args, kwargs in operations.found:
            least = 1e3 * best(lambda f=operator, a=args, k=kwargs: f(*a, **k))
            if operator._schema.name.split("::")[1] in PRODUCTS:
                products += least
            else:
                rest += least
    return products, products + rest


def measure(p, threads, repeats, lens, jax, compiled):
    "Print the tables for a number of threads."
    pairs, labels = addition(p)
    n = len(pairs)
    with torch_threads(threads):
        steps = {name: stepper(FastTransformer(p), pairs, labels, k, True, method and method()) for name, (k, method) in OURS.items()}
        steps["formula"] = stepper(FastTransformer(p).slow(), pairs, labels)
        steps["TransformerEncoderLayer"] = stepper(EncoderLayer(p), pairs, labels)
        if compiled:
            steps["formula, compiled"] = stepper(torch.compile(FastTransformer(p).slow()), pairs, labels)
            steps["EncoderLayer, compiled"] = stepper(torch.compile(EncoderLayer(p)), pairs, labels)
        if lens:
            lens(f"threads {threads}")
            steps["TransformerLens"] = lens
        others = [name for name in steps if name not in OURS]
        if jax:
            ask = other(jax, "jaxstep.py", p, threads)
            steps["JAX, last position"] = lambda: ask("last")
            steps["JAX, and tables"] = lambda: ask("tables")
        seconds = interleaved(steps, repeats)
        rate, memory = product_rate(n), memory_rate(n)
        parts = {name: shares(pairs, labels, p, k, method) for name, (k, method) in OURS.items()}
        alone = {name: operations_alone(pairs, labels, p, k, method) for name, (k, method) in OURS.items()}
    rival = min(seconds[name] for name in others)
    print(f"\np = {p}, {n} pairs, {threads} thread(s)")
    print(f"{'':26}{'steps/s':>9}{'against the best other':>24}{'of fast':>10}" + (f"{'against JAX':>13}" if jax else ""))
    for name, s in seconds.items():
        against = f"{seconds['JAX, last position'] / s:12.2f}x" if jax else ""
        print(f"{name:26}{1 / s:9.2f}{rival / s:23.2f}x{seconds['fast'] / s:10.2f}{against}")
    print(f"\nmilliseconds of a step's parts; the least that its products ({rate:.0f} GFLOP/s) and arrays ({memory:.0f} GB/s) need")
    least = needs(p, n, len(with_mirrors(pairs)[0]) - n)
    print(f"{'':20}" + "".join(f"{part:>16}" for part in parts["fast"]) + f"{'GFLOP':>8}{'MB':>6}{'at least':>10}{'of it':>7}{'products alone':>16}{'all alone':>11}")
    for name, each in parts.items():
        operations, megabytes = least[name]
        floor = 1e3 * operations / rate + megabytes / memory
        print(f"{name:20}" + "".join(f"{ms:16.1f}" for ms in each.values())
              + f"{operations:8.2f}{megabytes:6.0f}{floor:10.1f}{floor / 1e3 / seconds[name]:7.0%}{alone[name][0]:16.1f}{alone[name][1]:11.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--p", type=int, default=113)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--lens", help="interpreter of an environment with TransformerLens")
    parser.add_argument("--jax", help="interpreter of an environment with JAX")
    parser.add_argument("--compile", action="store_true", help="the others by torch.compile too, which wants a C++ compiler")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, float32")
    for name, script in (("lens", "lens.py"), ("jax", "jaxstep.py")):
        if not getattr(args, name):
            print(f"without --{name}: its rows are left out; how to make its environment is in {script}")
    lens = other(args.lens, "lens.py", args.p) if args.lens else None
    for threads in args.threads:
        measure(args.p, threads, args.repeats, lens, args.jax, args.compile)
