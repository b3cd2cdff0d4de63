"""Entropy and mutual information against the direct way, on one thread: python benchmarks/entropy.py [--n 3830] [--coverage 100]

Direct is the n x n Gram matrix and its eigenvalues. Medians of repeats in one run; the intervals' coverage is counted
over so many sets of probe vectors; the last line is the peak memory of the largest case, all pairs at p = 113.
"""
import argparse
import resource
import statistics
import time

import torch

from grok_nb.measures.entropy import check_features_matrix, gram_entropy, matrix_entropy, mutual_information
from grok_nb.training.fit import torch_threads


def features(n, d, seed, decay=0.02):
    "Rows whose spectrum falls off as those of a trained network do: (n, d)."
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) * torch.exp(-decay * torch.arange(d))


def timed(f, repeats=1):
    "Median seconds, and the result."
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        out = f()
        times.append(time.perf_counter() - before)
    return statistics.median(times), out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=3830)
    parser.add_argument("--coverage", type=int, default=100)
    args = parser.parse_args()
    n = args.n
    with torch_threads(1):
        Z = features(n, 512, 0)
        unit = check_features_matrix(Z)
        fast, a = timed(lambda: matrix_entropy(Z), 5)
        slow, b = timed(lambda: gram_entropy(unit @ unit.T))
        print(f"entropy, n = {n}, d = 512: {1000*fast:.0f} ms, direct {slow:.1f} s: {slow/fast:.0f}x; difference {abs(a-b):.1e}", flush=True)
        for d in (128, 512):
            Z1, Z2 = features(n, d, 1), features(n, d, 2)
            Z2[:, : d // 2] += Z1[:, : d // 2]
            fast, e = timed(lambda: mutual_information(Z1, Z2, way="estimate"), 3)
            slow, x = timed(lambda: mutual_information(Z1, Z2, way="exact"))
            joint = (matrix_entropy(Z1) + matrix_entropy(Z2) - x.value).item()
            widths, covered = [], 0
            for seed in range(args.coverage):
                low, high = mutual_information(Z1, Z2, way="estimate", seed=seed).interval()
                covered += low <= x.value.item() <= high
                widths.append((high - low) / 2 / joint)
            print(f"mutual information, n = {n}, d = {d}: {fast:.2f} s, exact {slow:.1f} s: {slow/fast:.1f}x; half-width "
                  f"{statistics.median(widths):.2%} of the joint entropy (largest {max(widths):.2%}), {covered} of "
                  f"{args.coverage} intervals hold the exact value", flush=True)
        n = 113**2
        Z1, Z2 = features(n, 384, 3), features(n, 128, 4)
        seconds, e = timed(lambda: mutual_information(Z1, Z2))
        print(f"mutual information, n = {n}, d = 384 and 128: {seconds:.1f} s, {e.value:.3f} +- {e.se:.3f}; peak memory "
              f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20:.2f} GB")
