"""Steps of the models that are not the paper's: one network, and several side by side, against a plain PyTorch loop.

    python benchmarks/generic.py [--repeats 7] [--only WORD]

One thread; medians of interleaved repeats, in milliseconds a step and network; ratios are of runs per second to a plain
loop over the same module: forward pass, cross-entropy, backward pass, fused AdamW. `one` and `stack` are what the trainer
uses (`make_stack`), `vmap` is `torch.func` as its documentation has it, `generic` is `Stack`, which takes any module.
"""
import argparse

import torch
from peers import addition, interleaved
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from grok_nb.models.decoder import Decoder
from grok_nb.models.mlps import MLP
from grok_nb.models.stack import Stack, make_stack
from grok_nb.models.transformer import Transformer
from grok_nb.training.fit import torch_threads


def optimiser(params):
    return torch.optim.AdamW(params, lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98), fused=True)


def plain(model, x, y):
    "A step of a loop as anybody writes it."
    own = optimiser(model.parameters())

    def step():
        own.zero_grad()
        cross_entropy(model(x), y).backward()
        own.step()

    return step


def stacked(params, forward, y):
    "A step of S networks; `forward` gives (S, n, classes)."
    own, seeds = optimiser(list(params.values())), len(y)

    def step():
        own.zero_grad()
        (seeds * cross_entropy(forward().flatten(0, 1), y.flatten())).backward()
        own.step()

    return step


def of_stack(stack, x, y):
    batch = stack.prepare(x)
    return stacked(stack.params, lambda: stack.forward(batch), y)


def by_vmap(models, x, y):
    params, buffers = stack_module_state(models)
    mapped = vmap(lambda p, b, x: functional_call(models[0], (p, b), (x,)))
    return stacked(params, lambda: mapped(params, buffers, x), y)


def measure(name, make, data, seeds, repeats):
    "Print a line."
    pairs = [data(s) for s in range(seeds)]
    x, y = (torch.stack(side) for side in zip(*pairs))
    ids = list(range(seeds))
    with torch_threads(1):
        steps = {
            "plain": plain(make(), x[0], y[0]),
            "one": of_stack(make_stack([make()], [0]), x[:1], y[:1]),
            "stack": of_stack(make_stack([make() for _ in ids], ids), x, y),
            "generic": of_stack(Stack([make()], [0], "embed"), x[:1], y[:1]),
            "vmap": by_vmap([make() for _ in ids], x, y),
        }
        seconds = interleaved(steps, repeats)
    for key in ("stack", "vmap"):
        seconds[key] /= seeds
    ms = ", ".join(f"{key} {1e3 * s:.2f}" for key, s in seconds.items())
    ratios = ", ".join(f"{key} {seconds['plain'] / s:.2f}" for key, s in seconds.items() if key != "plain")
    again = seconds["one"] / seconds["stack"]
    print(f"{name}, {seeds} seeds, {x.shape[1]} rows: {ms} ms; to plain: {ratios}; stack to one: {again:.2f}", flush=True)


def sums(p, frac=0.3):
    return lambda seed: addition(p, frac, seed)


def images(seed):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(1000, 784, generator=g), torch.randint(0, 10, (1000,), generator=g)


SMALL = dict(d_model=32, n_heads=4, d_mlp=128)
CASES = { # name -> (makes a network, data, seeds)
    "decoder, 2 layers, d 128, batches of 512": (lambda: Decoder(97), sums(97, 512 / 97**2 + 1e-9), 8),
    "decoder, 2 layers, d 128, p = 97": (lambda: Decoder(97), sums(97), 8),
    "decoder, 2 layers, d 32, p = 31": (lambda: Decoder(31, **SMALL), sums(31), 8),
    "decoder, 2 layers, d 32, p = 31 ": (lambda: Decoder(31, **SMALL), sums(31), 16),
    "mlp, one-hot, 2 x 200, p = 113": (lambda: MLP(113, 113, 2), sums(113), 8),
    "mlp, untied, 2 x 200, p = 113": (lambda: MLP(113, 113, 2, "untied"), sums(113), 8),
    "mlp, quadratic, 1 x 500, p = 97": (lambda: MLP(97, 97, 2, depth=1, width=500, activation="quadratic"), sums(97), 8),
    "mlp, one-hot, 2 x 64, p = 31": (lambda: MLP(31, 31, 2, width=64), sums(31), 8),
    "mlp, one-hot, 2 x 64, p = 31 ": (lambda: MLP(31, 31, 2, width=64), sums(31), 16),
    "mlp, images, 2 x 200": (lambda: MLP(784, 10), images, 8),
    "paper's formula, d 16, p = 11": (lambda: Transformer(11, d_model=16, n_heads=4, d_mlp=32), sums(11, .5), 16),
    "paper's formula, d 32, p = 31": (lambda: Transformer(31, **SMALL), sums(31), 16),
    "paper's formula, d 128, p = 113": (lambda: Transformer(113), sums(113), 2),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    args = parser.parse_args()
    for name, (make, data, seeds) in CASES.items():
        if args.only in name:
            measure(name.strip(), make, data, seeds, args.repeats)
