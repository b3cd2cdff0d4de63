"""Two hours of small runs in one process: memory must not grow, file handles not leak, speed not fall.

python benchmarks/soak.py [--minutes 120] [--share .3] [--table FILE]    run, a line a round
python benchmarks/soak.py --report FILE                                  judge a table, also of a soak that was cut off

Each round trains every method once, stopped half way and gone on from its checkpoint, and reads the store back. Speed
is steps a second of the process's own CPU time, and as a ratio to a bare torch loop timed in the same round, so that
others on the machine do not distort it; between rounds it sleeps so that it uses the given share of a core.
"""
import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import theilslopes

from grok_nb.sweep import grid, read_store
from grok_nb.train import fit, load_run

METHODS = ["standard", "noise", "abelian", "noise+abelian", "grokfast"]
WATCH = ("norms", {"name": "spectrum", "every": 100})


def round_of_runs(seed, steps=200):
    "Steps trained and CPU seconds used; every run is stopped half way and gone on with."
    configs = grid(method=METHODS, seed=seed, p=23, train_frac=.5, d_model=32, d_mlp=128, lr=2e-3, steps=steps, log_every=25,
                   frames=10, stop_factor=0, probes=WATCH)
    configs += grid(method="noise", seed=seed, p=23, train_frac=.5, d_model=32, d_mlp=128, steps=steps, batch_size=64)

    def stop_half_way(t):
        t.stopped = t.step >= steps // 2

    before = time.process_time()
    with tempfile.TemporaryDirectory() as store, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a run was interrupted
        for c in configs:
            folder = Path(store) / c.hash
            fit(c, folder, quiet=True, callbacks=[stop_half_way], save_every=.1)
            assert fit(c, folder, quiet=True, save_every=.1).status == "done"
            assert load_run(folder).history["step"].iloc[-1] == steps
        assert len(read_store(store).summary) == len(configs)
    return steps * len(configs), time.process_time() - before


def bare_loop(steps=300):
    "CPU seconds of a plain loop of the same size of steps: what the machine gives at the moment."
    model = torch.nn.Sequential(torch.nn.Linear(32, 128), torch.nn.ReLU(), torch.nn.Linear(128, 23))
    optimizer, x, y = torch.optim.AdamW(model.parameters()), torch.randn(264, 32), torch.randint(0, 23, (264,))
    before = time.process_time()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return (time.process_time() - before) / steps


def now():
    "Resident memory in MB, open file handles and threads of this process."
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def verdict(table):
    "Trends by Theil and Sen after the first tenth, with 95 % intervals; memory and speed may not drift by 0.5 % an hour."
    if table["minutes"].iloc[-1] < 10:
        return f"{table['minutes'].iloc[-1]:.1f} minutes are too few for a verdict"
    rest = table[table["minutes"] > table["minutes"].iloc[-1] / 10]
    hours, words, well = rest["minutes"] / 60, [], True
    for key, unit in (("rss_mb", "MB"), ("steps_per_cpu_second", "steps/s"), ("speed", "of the bare loop")):
        slope, _, low, high = theilslopes(rest[key], hours)
        level = rest[key].median()
        per_hour = 100 * np.array([slope, low, high]) / level
        if key != "steps_per_cpu_second":  # that one moves with the machine
            well &= bool((per_hour[1] if key == "rss_mb" else -per_hour[2]) < .5)  # the interval's kinder end
        words.append(f"{key} median {level:.4g} {unit}, {per_hour[0]:+.2f} % an hour (95 %: {per_hour[1]:+.2f} to {per_hour[2]:+.2f})")
    handles = rest["handles"]
    well &= handles.iloc[-1] <= handles.iloc[0]
    return (f"{'steady' if well else 'NOT steady'} over {table['minutes'].iloc[-1]:.0f} minutes, {table['runs'].iloc[-1]:.0f} runs "
            f"and {table['steps'].iloc[-1]:.0f} steps: {'; '.join(words)}; file handles {handles.iloc[0]:.0f} at first, "
            f"{handles.iloc[-1]:.0f} at last, {handles.max():.0f} at most")


def soak(minutes, share, out):
    "Rounds until the time is up; the table is written line by line."
    start, steps, runs, seed = time.monotonic(), 0, 0, 0
    names = ["minutes", "runs", "steps", "rss_mb", "handles", "os_threads", "steps_per_cpu_second", "speed"]
    Path(out).write_text(",".join(names) + "\n")
    while time.monotonic() - start < 60 * minutes:
        began = time.monotonic()
        n, cpu = round_of_runs(seed)
        steps, runs, seed = steps + n, runs + len(METHODS) + 1, seed + 1
        row = [(time.monotonic() - start) / 60, runs, steps, *now(), n / cpu, bare_loop() * n / cpu]
        with open(out, "a") as f:
            f.write(",".join(f"{o:.6g}" for o in row) + "\n")
        print("  ".join(f"{k} {o:.6g}" for k, o in zip(names, row)), flush=True)
        if seed % 50 == 0:
            print("so far:", verdict(pd.read_csv(out)), flush=True)
        time.sleep(max(0, cpu / share - (time.monotonic() - began)))
    print(verdict(pd.read_csv(out)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--share", type=float, default=.3)
    parser.add_argument("--table", default="soak.csv")
    parser.add_argument("--report")
    args = parser.parse_args()
    if args.report:
        print(verdict(pd.read_csv(args.report)))
    else:
        soak(args.minutes, args.share, args.table)
