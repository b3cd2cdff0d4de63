"""Seeds trained as one stack against the same seeds one after another, on one thread.

    python benchmarks/stack.py [--p 31] [--d-model 32] [--d-mlp 128] [--seeds 16] [--steps 60]

Medians of interleaved repeats; the ratio is runs per second of the stack over that of single runs.
"""
import argparse

from peers import interleaved

from grok_nb.training.config import RunConfig
from grok_nb.training.loop import Training
from grok_nb.training.fit import torch_threads


def advance(trainings, steps):
    "A function that takes a few steps of each training."

    def go():
        for t in trainings:
            for _ in range(steps):
                objective, acc, _ = t.forward()
                t.update(objective, acc)

    return go


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("p", 31), ("d-model", 32), ("d-mlp", 128), ("seeds", 16), ("steps", 60), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    for method in ("standard", "noise"):
        configs = [RunConfig(p=a.p, d_model=a.d_model, d_mlp=a.d_mlp, seed=s, method=method) for s in range(a.seeds)]
        with torch_threads(1):
            stack, singles = Training(configs), [Training([c]) for c in configs]
            jobs = {"stack": advance([stack], a.steps), "single": advance(singles, a.steps)}
            seconds = interleaved(jobs, a.repeats, inner=1, warmup=1)
        ratio = seconds["single"] / seconds["stack"]
        print(f"{method:9} p={a.p} d_model={a.d_model} d_mlp={a.d_mlp} {a.seeds} seeds: one after another "
              f"{1e3 * seconds['single'] / a.steps / a.seeds:.2f} ms a step and run, "
              f"stacked {1e3 * seconds['stack'] / a.steps / a.seeds:.2f} ms: {ratio:.2f}x")
