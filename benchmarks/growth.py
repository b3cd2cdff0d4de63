"""Time per step and peak memory against p and against width: python benchmarks/growth.py [--repeats 5]

One thread, medians of interleaved repeats; exponents by least squares on logarithms. Memory is the peak resident set of
a process that trains 20 steps, Python and torch included.
"""
import argparse
import subprocess
import sys

import numpy as np
from peers import interleaved

from grok_nb.training.config import paper_config
from grok_nb.training.loop import Training
from grok_nb.training.fit import torch_threads

SIZES, WIDTHS = (31, 59, 97, 113, 149, 197), (32, 64, 128, 256, 512)
MEMORY = """
from grok_nb.training.config import paper_config
from grok_nb.training.fit import fit
fit(paper_config(method={method!r}, p={p}, steps=20), quiet=True)
print(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])/1024)
"""


def stepping(**settings):
    "A function that takes a training step."
    t = Training([paper_config(**settings)])

    def step():
        objective, acc, _ = t.forward()
        t.update(objective, acc)

    return step


def show(name, values, seconds):
    "A row a value, and the exponent over the last four, where overhead no longer counts."
    print(f"\n{name:>8}{'ms a step':>12}")
    for v, s in zip(values, seconds):
        print(f"{v:8}{1000 * s:12.2f}")
    print(f"time ~ {name}^{np.polyfit(np.log(values[-4:]), np.log(seconds[-4:]), 1)[0]:.2f} (last four)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with torch_threads(1):
        times = interleaved({p: stepping(p=p) for p in SIZES}, args.repeats)
        show("p", SIZES, list(times.values()))
        times = interleaved({w: stepping(d_model=w, d_mlp=4 * w) for w in WIDTHS}, args.repeats)
        show("d_model", WIDTHS, list(times.values()))
    for method in ("standard", "noise", "abelian"):
        done = subprocess.run([sys.executable, "-c", MEMORY.format(method=method, p=113)], capture_output=True, text=True, check=True)
        print(f"peak memory at p = 113, {method}: {float(done.stdout):.0f} MB")
