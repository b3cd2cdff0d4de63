"""Shipped runs made anew: does a table still hold, by today's steps and libraries? python again.py [TABLE] [--seeds N]

The first seeds of each method in a shipped table are trained again, without its probes, which change nothing. Printed
are, a method a line, the seeds whose curves are the same to the digits that ship, and the steps to grok, shipped over anew,
by the judge of the claims: "holds" where the interval of their ratio lies within a factor of 1.1.
"""
import argparse
import warnings
from dataclasses import replace

from grok_nb import fit, results
from grok_nb.analysis.judge import Question, judge_parts, time_ratios
from grok_nb.analysis.readings import grok_step

SAME = ["step", "train/acc", "train/loss", "test/acc", "norm/l2"]


def anew(config):
    "The history of a config's run, ended at the grok."
    return fit(replace(config, probes=(), frames=0, stop_factor=1.2), quiet=True).history


def compared(shipped, history):
    "(steps to grok shipped, anew, whether all rows that both have are the same to the five digits that ship)."
    rows = min(len(shipped), len(history))
    one, other = (frame[SAME].iloc[:rows].to_numpy() for frame in (shipped, history))
    same = bool((abs(one - other) <= 6e-5 * abs(other)).all())
    return grok_step(shipped), grok_step(history), same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="?", default="fresh_p59")
    parser.add_argument("--seeds", type=int, default=8, help="of each method (8)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    table, methods = results(args.table), {}
    for config in sorted(table.configs.values(), key=lambda c: c.seed):
        methods.setdefault(config.method, []).append(config)
    for method, configs in methods.items():
        configs = configs[: args.seeds]
        found = [compared(table.history[table.history["hash"] == c.hash], anew(c)) for c in configs]
        ratios = time_ratios(*zip(*((old, new) for old, new, _ in found)))
        verdict, = judge_parts([Question("steps to grok, shipped over anew", ratios, "same")])
        alike = sum(same for *_, same in found)
        print(f"{args.table}, {method}: {alike} of {len(found)} the same to five digits; {verdict!r}", flush=True)
        print("   shipped, anew: " + ", ".join(f"{old:g} {new:g}" for old, new, _ in found), flush=True)


if __name__ == "__main__":
    main()
