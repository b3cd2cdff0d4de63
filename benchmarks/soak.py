"""Two hours of small runs in one process: memory must not grow, file handles not leak, speed not fall.

python benchmarks/soak.py [--minutes 120] [--share .3] [--table FILE]    run, a line a round
python benchmarks/soak.py --report FILE                                  judge a table, also of a soak that was cut off

Each round trains every method once, stopped half way and gone on from its checkpoint, and reads the store back. Speed
is steps a second of the process's own CPU time. Even that moves with what else the machine does, so every fifth round is
done by a fresh process as well, right after, and the ratio of the two is what is judged. Between rounds it sleeps so
that it uses the given share of a core.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import theilslopes

from grok_nb.runs.sweep import grid
from grok_nb.runs.table import read_store
from grok_nb.training.fit import fit
from grok_nb.training.run import load_run

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


def fresh(seed):
    "Steps a CPU second of the same round in a process that has just begun, after a round to warm up."
    code = f"import soak; soak.round_of_runs({seed}); n, cpu = soak.round_of_runs({seed}); print(n / cpu)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return float(done.stdout)


def now():
    "Resident memory in MB, open file handles and threads of this process."
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def verdict(table):
    "The trend of memory by Theil and Sen after the first tenth, with a 95 % interval; handles; speed against fresh processes."
    if table["minutes"].iloc[-1] < 10:
        return f"{table['minutes'].iloc[-1]:.1f} minutes are too few for a verdict"
    rest = table[table["minutes"] > table["minutes"].iloc[-1] / 10]
    slope, _, low, high = 100 * np.array(theilslopes(rest["rss_mb"], rest["minutes"] / 60)) / rest["rss_mb"].median()
    ratio = rest["against_fresh"].dropna()
    half = ratio[len(ratio) // 2:]
    handles = rest["handles"]
    well = low < .5 and half.median() > .95 and handles.iloc[-1] <= handles.iloc[0]
    return (f"{'steady' if well else 'NOT steady'} over {table['minutes'].iloc[-1]:.0f} minutes, {table['runs'].iloc[-1]:.0f} runs and "
            f"{table['steps'].iloc[-1]:.0f} steps: memory {rest['rss_mb'].median():.1f} MB, {slope:+.2f} % an hour (95 %: {low:+.2f} to {high:+.2f}); "
            f"file handles {handles.iloc[0]:.0f} at first, {handles.iloc[-1]:.0f} at last, {handles.max():.0f} at most; speed against a fresh "
            f"process {half.median():.2f} in the second half (quartiles {half.quantile(.25):.2f} and {half.quantile(.75):.2f}, {len(half)} pairs)")


def soak(minutes, share, out):
    "Rounds until the time is up; the table is written line by line."
    start, steps, runs, seed = time.monotonic(), 0, 0, 0
    names = ["minutes", "runs", "steps", "rss_mb", "handles", "os_threads", "steps_per_cpu_second", "against_fresh"]
    Path(out).write_text(",".join(names) + "\n")
    while time.monotonic() - start < 60 * minutes:
        began = time.monotonic()
        n, cpu = round_of_runs(seed)
        ratio = n / cpu / fresh(seed) if seed % 5 == 2 else float("nan")
        steps, runs, seed = steps + n, runs + len(METHODS) + 1, seed + 1
        row = [(time.monotonic() - start) / 60, runs, steps, *now(), n / cpu, ratio]
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
