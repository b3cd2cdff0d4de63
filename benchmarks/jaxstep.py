"""The paper's step by JAX, jitted, in an environment of its own: started by step.py, which asks for times.

    python -m venv jax && jax/bin/pip install "jax[cpu]" && python benchmarks/step.py --jax jax/bin/python

Two forms, for each line "last" or "tables" that is read: `last` computes the last position only, with one query and with
keys and values of every pair's tokens, as one writes it down; `tables` takes keys and values from tables, a row a token
and position, which is fact 2 of the fast path. AdamW as in peers.py. Prints the seconds that a step took.
"""
import os
import sys
import time

P, THREADS = int(sys.argv[1]), int(sys.argv[2])
if THREADS == 1:  # before JAX is loaded
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np

D, HEADS, HIDDEN = 128, 4, 512
LR, DECAY, BETA1, BETA2, EPS = 1e-3, 1.0, 0.9, 0.98, 1e-8


def data(seed=0, train_frac=0.3):
    "Tokens a and b, and labels, of addition modulo p."
    index = np.sort(np.random.default_rng(seed).permutation(P * P)[: int(train_frac * P * P)])
    a, b = index // P, index % P
    return jnp.asarray(a), jnp.asarray(b), jnp.asarray((a + b) % P)


def weights(seed=0):
    "Initial weights by name."
    shapes = dict(embed=(P + 1, D), pos=(3, D), q=(D, D), k=(D, D), v=(D, D), o=(D, D),
                  to_hidden=(D, HIDDEN), from_hidden=(HIDDEN, D), unembed=(D, P))
    keys = jax.random.split(jax.random.PRNGKey(seed), len(shapes))
    out = {name: jax.random.normal(key, shape) * D**-0.5 for key, (name, shape) in zip(keys, shapes.items())}
    return out | dict(hidden_bias=jnp.zeros(HIDDEN), out_bias=jnp.zeros(D))


def heads(x):
    return x.reshape(*x.shape[:-1], HEADS, D // HEADS)


def tokens(w, a, b):
    "Keys and values (n, 2, heads, d_head) of every pair's a and b."
    x = jnp.stack([w["embed"][a], w["embed"][b]], 1) + w["pos"][:2]
    return heads(x @ w["k"]), heads(x @ w["v"])


def tables(w, a, b):
    "The same, from a row for each token and position."
    x = w["embed"][None, :P] + w["pos"][:2, None]
    keys, values = heads(x @ w["k"]), heads(x @ w["v"])
    return tuple(jnp.stack([t[0, a], t[1, b]], 1) for t in (keys, values))


def logits(w, a, b, keys_and_values):
    "Logits at the last position, the only one that is computed."
    x = w["embed"][P] + w["pos"][2]
    keys, values = keys_and_values(w, a, b)
    keys, values = (jnp.concatenate([t, jnp.broadcast_to(heads(x @ w[name]), (len(a), 1, *t.shape[2:]))], 1)
                    for t, name in ((keys, "k"), (values, "v")))
    attention = jax.nn.softmax((heads(x @ w["q"]) * keys).sum(-1) / (D // HEADS) ** 0.5, 1)
    x = x + (attention[..., None] * values).sum(1).reshape(len(a), D) @ w["o"]
    x = x + jax.nn.relu(x @ w["to_hidden"] + w["hidden_bias"]) @ w["from_hidden"] + w["out_bias"]
    return x @ w["unembed"]


def stepper(keys_and_values):
    "A function that takes one training step."
    a, b, labels = data()

    def loss(w):
        out = logits(w, a, b, keys_and_values)
        own = jnp.take_along_axis(jax.nn.log_softmax(out), labels[:, None], 1)
        return -own.mean(), (out.argmax(-1) == labels).mean()

    def update(w, mean, square, t):
        (_, accuracy), grad = jax.value_and_grad(loss, has_aux=True)(w)
        t = t + 1
        mean = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, mean, grad)
        square = jax.tree.map(lambda s, g: BETA2 * s + (1 - BETA2) * g * g, square, grad)
        w = jax.tree.map(lambda p, m, s: p * (1 - LR * DECAY)
                         - LR * m / (1 - BETA1**t) / (jnp.sqrt(s / (1 - BETA2**t)) + EPS), w, mean, square)
        return w, mean, square, t, accuracy

    update, w = jax.jit(update, donate_argnums=(0, 1, 2, 3)), weights()
    state = [w, *(jax.tree.map(jnp.zeros_like, w) for _ in range(2)), jnp.zeros(())]

    def step():
        *state[:], accuracy = update(*state)
        return float(accuracy)

    return step


if __name__ == "__main__":
    steps = {"last": stepper(tokens), "tables": stepper(tables)}
    clock = time.process_time if THREADS == 1 else time.perf_counter
    for line in sys.stdin:
        start = clock()
        steps[line.strip()]()
        print("done", clock() - start, flush=True)
