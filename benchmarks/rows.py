"""How much of `fit` is the step: the loop with default rows and frames against the same steps alone, at p = 113.

    python benchmarks/rows.py [--steps 200 ...] [--repeats 3]

In turns, in seconds of the processor, by medians.
"""
import argparse
from statistics import median

from peers import processor_time

from grok_nb import paper_config
from grok_nb.training.fit import torch_threads
from grok_nb.training.loop import Training, train_loop


def seconds(steps, whole):
    "Of so many steps of a fresh run, with rows and frames or without."
    t = Training([paper_config()])
    t.update(*t.forward()[:2])  # what a first step makes once
    t = Training([paper_config()])
    before = processor_time()
    if whole:
        train_loop(t, before=lambda t: t.step == steps)
    else:
        for _ in range(steps):
            t.update(*t.forward()[:2])
    return processor_time() - before, len(t.rows[0]), len(t.frames[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[200])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with torch_threads(1):
        for steps in args.steps:
            pairs = [(seconds(steps, False), seconds(steps, True)) for _ in range(args.repeats)]
            bare, whole = (median(pair[i][0] for pair in pairs) for i in (0, 1))
            _, rows, frames = pairs[0][1]
            print(f"{steps} steps: the loop does {bare/whole:.2f} of the bare steps' rate, with {rows} rows and {frames} frames")
