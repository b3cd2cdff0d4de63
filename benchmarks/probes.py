"""Cost of each probe at its default interval, as a share of training time: python benchmarks/probes.py [--p 113]"""
import argparse
import statistics
import time

from grok_nb.measures.probes import MEASURES, Probe
from grok_nb.training.loop import Training
from grok_nb.training.config import paper_config
from grok_nb.training.fit import torch_threads


def seconds(f, repeats):
    "Median time of a call."
    f()
    out = []
    for _ in range(repeats):
        before = time.perf_counter()
        f()
        out.append(time.perf_counter() - before)
    return statistics.median(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--p", type=int, default=113)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with torch_threads(1):
        t = Training([paper_config(p=args.p)])

        def step():
            objective, acc, sigma = t.forward()
            t.update(objective, acc)

        one = seconds(step, 20)
        print(f"p = {args.p}, one thread: a step takes {1000*one:.1f} ms\n\n{'probe':18}{'seconds':>9}{'every':>7}{'share':>8}")
        total = 0
        for name, measure in MEASURES.items():
            every = measure.every
            if name == "bound":  # images only
                continue
            cost = seconds(lambda: Probe(name)(t.models[0], t.tasks[0]), args.repeats)
            total += cost / (every * one)
            print(f"{name:18}{cost:9.3f}{every:7}{cost/(every*one):8.1%}", flush=True)
        print(f"{'all together':18}{'':9}{'':7}{total:8.1%}")
