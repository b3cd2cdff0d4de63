"""A store of 10,000 runs: how long it takes to plan, claim, read and show, and how much memory.

python benchmarks/store.py [--runs 10000] [--rows 200]

The runs are not trained: each gets a history of made-up numbers, stored as `fit` stores it. Seconds are of this process
alone; the peak of its memory includes torch.
"""
import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from grok_nb.runs.sweep import grid, status, sweep
from grok_nb.runs.table import read_store
from grok_nb.training.run import Run, claim_folder, environment, save_run

SPACE = dict(method=["standard", "noise", "grokfast", "abelian"], lr=[1e-3, 2e-3, 5e-3, 1e-2, 2e-2], weight_decay=[.1, .3, 1., 2., 3.])


def measured(what, function, *args, **kwargs):
    "What a function gives; its wall time, its CPU time and the peak of memory so far are printed."
    wall, cpu = time.perf_counter(), time.process_time()
    out = function(*args, **kwargs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"{what}: {time.perf_counter() - wall:.1f} s, of which {time.process_time() - cpu:.1f} s of CPU; peak memory {peak:.0f} MB", flush=True)
    return out


def fill(configs, store, rows):
    "Store a run for each config."
    rng, about = np.random.default_rng(0), environment()
    steps = np.arange(rows) * configs[0].log_every
    for c in configs:
        test = np.clip(np.linspace(0, 1.5, rows) + rng.normal(0, .01, rows), 0, 1)
        columns = {"step": steps, "train/acc": 1., "test/acc": test, **{k: rng.random(rows) for k in ("train/loss", "test/loss", "norm/l2", "noise/sigma")}}
        save_run(Run(c, pd.DataFrame(columns), {}, "done", None, 1., about), claim_folder(store / c.hash, c))


def main(runs, rows):
    configs = measured(f"{runs} configs planned", grid, seed=range(runs // 100), p=59, steps=25 * rows, **SPACE)
    with tempfile.TemporaryDirectory() as top:
        store = Path(top)
        measured("claimed and stored", fill, configs, store, rows)
        table = measured("read", read_store, store)
        assert len(table.summary) == len(configs) and not table.problems and len(table.history) == len(configs) * rows
        measured("shown", lambda: (repr(table), table._repr_html_()))
        del table
        print(measured("status", status, store).splitlines()[0].replace(str(store), "STORE"))
        table = measured("swept again, with nothing to do", sweep, configs, store, n_jobs=1, quiet=True)
        assert (table.summary["status"] == "done").all()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=200)
    args = parser.parse_args()
    main(args.runs, args.rows)
