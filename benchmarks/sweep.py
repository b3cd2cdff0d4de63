"""Throughput of a sweep against bare processes doing the same runs, and its overhead per run.

python benchmarks/sweep.py [--runs 24] [--repeats 3]
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from grok_nb.runs.sweep import grid, sweep

RUN = dict(p=31, train_frac=.5, d_model=32, d_mlp=128, steps=600, frames=0, stop_factor=0)

BARE = """
import sys, time
from grok_nb.runs.sweep import grid
from grok_nb.training.fit import fit
configs = grid(seed=range({start}, {runs}, 2), **{run})
fit(configs[0].__class__(**{{**{run}, "steps": 5}}), quiet=True) # warm
print("ready", flush=True); sys.stdin.readline()
for i,c in enumerate(configs): fit(c, out=f"{folder}/{start}-{{i}}", quiet=True)
print("done", flush=True)
"""


def bare(runs):
    "Seconds that two bare, warm processes take."
    with tempfile.TemporaryDirectory() as folder:
        processes = [subprocess.Popen([sys.executable, "-c", BARE.format(start=i, runs=runs, run=RUN, folder=folder)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for i in range(2)]
        for p in processes:
            p.stdout.readline()
        before = time.perf_counter()
        for p in processes:
            p.stdin.write("\n")
            p.stdin.flush()
        for p in processes:
            assert p.stdout.readline() == "done\n"
        return time.perf_counter() - before


def swept(runs):
    "Seconds that a sweep over two warm workers takes, and the seconds that its runs say they took."
    with tempfile.TemporaryDirectory() as folder:
        sweep(grid(seed=range(100, 104), **{**RUN, "steps": 5}), Path(folder) / "warm", n_jobs=2, quiet=True)
        before = time.perf_counter()
        sweep(grid(seed=range(runs), **RUN), Path(folder) / "store", n_jobs=2, quiet=True)
        seconds = time.perf_counter() - before
        inside = sum(json.loads(p.read_text())["seconds"] for p in (Path(folder) / "store").glob("*/run.json"))
        return seconds, inside


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    ratios, overheads = [], []
    for _ in range(args.repeats):
        a, (b, inside) = bare(args.runs), swept(args.runs)
        ratios.append(a / b)
        overheads.append(1000 * (2 * b - inside) / args.runs)
        print(f"two bare processes {a:.1f} s, sweep {b:.1f} s", flush=True)
    print(f"{args.runs} runs: throughput of the sweep / of two bare processes: median {statistics.median(ratios):.2f} "
          f"(of {args.repeats}); outside the runs {statistics.median(overheads):.0f} ms of a process a run")
