"""Good arguments of what `grok_nb` itself names, and of methods, for fuzz.py to put odd ones in their place."""
import random
from functools import cache
from types import SimpleNamespace

import fuzz
import grok_nb
import numpy as np
import torch
from fuzz import a_table, conv, history, images_task, mlp, pairs_task, seed, transformer, where
from matplotlib.figure import Figure

SMALL = dict(p=5, train_frac=.6, d_model=8, n_heads=2, d_mlp=8, steps=3, log_every=1, frames=2)


def small(**settings):
    return grok_nb.RunConfig(**{**SMALL, **settings})


@cache
def a_run():
    return grok_nb.fit(small(steps=8), quiet=True)


@cache
def a_folder():
    "Of a run that is done."
    folder = where() / "run"
    grok_nb.fit(small(), folder, quiet=True)
    return folder


@cache
def a_store():
    folder = where()
    grok_nb.sweep([small(seed=s) for s in (0, 1)], folder, n_jobs=1, quiet=True)
    return folder


def axes():
    return Figure(figsize=(2, 2)).subplots()


def condition(config):
    return config.method


def matrices():
    return {"W": torch.ones(2, 3, 3, requires_grad=True)}


def network(kind, **sizes):
    return lambda **args: getattr(grok_nb, kind)(**(sizes | args))


def words(name):
    "A catalogue, asked with one word."
    return lambda word: getattr(grok_nb, name)(word)


CALLS = {  # name -> function of keywords; `grok_nb`'s own where none stands here
    "compare": lambda a, b, hold, levels: grok_nb.compare(a, b, hold=hold, levels=levels),
    "plot": lambda what, by, measure: grok_nb.plot(what, by=by, measure=measure),
    "plot_runs": lambda a, b, measure: grok_nb.plot_runs(a, b, measure=measure),
    "make_task": lambda name, args: grok_nb.make_task(name, **args) if isinstance(args, dict) and all(isinstance(k, str) and k != "name" for k in args) else None,
    "RunConfig": lambda name, value: grok_nb.RunConfig(**{name: value}) if isinstance(name, str) else None,
    "paper_config": lambda task, method: grok_nb.paper_config(task, method),
    "grid": lambda task, seed, lr: grok_nb.grid(task, seed=seed, lr=lr),
    **{name: words(name) for name in ("experiments", "losses", "optimizers", "probes", "schedules", "settings", "methods", "models", "tasks")},
}


def sizes():
    return dict(d_model=8, n_heads=2, d_mlp=8)


GOOD = {  # name -> function that makes good arguments
    "compare": lambda: dict(a=history(), b=a_run(), hold=100, levels=(.9,)),
    "time_table": lambda: dict(table=a_table(), by="method", level="grokked"),
    "judge": lambda: dict(statistic="speed", values=np.linspace(1, 2, 8), above=1., below=None, margin=1.1),
    "standings": lambda: dict(table=a_table(), label=condition, than="standard", level="test95", margin=1.1),
    "median_table": lambda: dict(table=a_table(), rows="method", columns="seed", level="test95"),
    "experiment": lambda: dict(name="tiny"), "claim_text": lambda: dict(name="C9"),
    "page": lambda: dict(film=grok_nb.slides(a_run()), most=10**6, other=None),
    "curve_colour": lambda: dict(name="test"), "label": lambda: dict(column="test/acc"), "method_colour": lambda: dict(method="noise"),
    "plot_aligned": lambda: dict(histories=[history()], measure="norm/l2", ax=axes(), colour="C0", events=None, name="a", linestyle="-", width=.8),
    "plot_learned": lambda: dict(history=history(), measures={"test": "test/acc"}, ax=axes(), hold=100),
    "plot_methods": lambda: dict(histories={"standard": history()}, title="a", hold=100),
    "plot_run": lambda: dict(run=history(), method="noise", ax=axes(), hold=100, levels=(.9,)),
    "plot_seeds": lambda: dict(histories=[history()], measure="test/acc", method="noise", ax=axes(), label="a", linestyle="-", colour="C0", by=None),
    "tidy_axes": lambda: dict(ax=axes(), ylabel="a", log=True), "report": lambda: dict(table=a_table(), title="a", by="method"),
    "slides": lambda: dict(run=a_run(), task=None, triples=50), "plot": lambda: dict(what=a_table(), by="method", measure="test/acc"),
    "plot_runs": lambda: dict(a=history(), b=a_run(), measure="test/acc"),
    "plot_times": lambda: dict(table=a_table(), by="method", level="grokked", ax=axes()),
    "StackedOptimizer": lambda: dict(params=matrices(), name="adamw", schedule=None, lr=.1),
    "make_schedule": lambda: dict(name="cosine", steps=9, warmup=2, final=.1), "make_methods": lambda: dict(name="noise+l1", args={"lambda1": .1}),
    "plain_loop": lambda: dict(method="noise", model=conv(), at="", hidden=(), seed=0, task=images_task(), read=None, loss="mse", loss_args=None),
    "Decoder": lambda: dict(n_tokens=5, n_classes=5, n_layers=1, norm="before", final_norm=True, activation="relu", causal=True, positions=True, tied=False,
                            dropout=0., operands=2, generator=seed(), **sizes()),
    "MLP": lambda: dict(n_inputs=5, n_classes=5, operands=2, inputs="tied", join="sum", d_model=8, depth=1, width=8, activation="relu", bias=True, out_scale=1.,
                        init_scale=1., scaled="all", generator=seed()),
    "Transformer": lambda: dict(n_tokens=5, n_classes=5, generator=seed(), untied=True, **sizes()),
    "FastTransformer": lambda: dict(n_tokens=5, n_classes=5, generator=seed(), untied=True, **sizes()),
    "Stack": lambda: dict(models=[mlp(), mlp()], seeds=[0, 1], noise_at="input"),
    "make_stack": lambda: dict(models=[transformer(), transformer()], seeds=[0, 1], at="", plain=False),
    "grid": lambda: dict(task="add", seed=[0, 1], lr=[.1]), "status": lambda: dict(store=a_store()),
    "sweep": lambda: dict(configs=[small()], store=where(), retry=False, scheduler=None, quiet=True, save_every=30, n_jobs=1, stack=1),
    "read_store": lambda: dict(store=a_store(), configs=[small()]), "results": lambda: dict(name="tiny", folder=grok_nb.results.__defaults__[1]),
    "join": lambda: dict(old=a_table(), new=a_table(), order=()), "operation": lambda: dict(name="add", p=5, seed=0),
    "split_cells": lambda: dict(mirror=torch.arange(9), train_frac=.5, seed=0, split="random"),
    "split_pairs": lambda: dict(n=5, train_frac=.5, seed=0, split="random"),
    "Task": lambda: dict(name="a", x_train=torch.rand(4, 3), y_train=torch.zeros(4).long(), x_test=torch.rand(2, 3), y_test=torch.zeros(2).long(), n_classes=2),
    "encode_pairs": lambda: dict(pairs=torch.zeros(3, 2).long(), n_tokens=5, encoding="one_hot"),
    "make_task": lambda: dict(name="add", args=dict(p=5, train_frac=.5)), "paper_config": lambda: dict(task="add", method="noise"),
    "table_task": lambda: dict(table=fuzz.table(), train_frac=.5, seed=0, split="random", name="a", rows=None, columns=None, n_tokens=5, encoding="tokens"),
    "with_wrong_labels": lambda: dict(task=pairs_task(), share=.2, seed=0), "RunConfig": lambda: dict(name="lr", value=.1),
    "fit": lambda: dict(config=small(), out=where() / "run", device="cpu", quiet=True, callbacks=(), probes=None, task=None, save_every=30, bar_row=0),
    "first_held": lambda: dict(steps=[0, 1, 2], values=[0, 1, 1], threshold=.5, hold=1),
    "milestones": lambda: dict(history=history(), hold=100, levels=(.9,)), "predict": lambda: dict(model=conv(), x=images_task().x_train, chunk=4),
    "load_run": lambda: dict(folder=a_folder(), task=None), "log_to": lambda: dict(writer=SimpleNamespace(log=print), prefix="a"),
    "Registry": lambda: dict(kind="thing", given=("a",), find=None),
    "live": lambda: dict(config=small(), task=None),
    **{name: lambda: dict(word="add") for name in ("experiments", "losses", "optimizers", "probes", "schedules", "settings", "methods", "models", "tasks")},
}
WRITTEN_BY_US = {"plot_methods": ("histories", "hold"), "sweep": ("configs", "store", "retry", "save_every", "stack")}  # the others start processes

SKIP = {  # name: why
    "CLAIMS": "a table", "ENTRANTS": "a table", "EXPERIMENTS": "a table", "PLAN": "a table", "RECIPES": "a table", "TRACKS": "a table", "LOSSES": "a table",
    "METHODS": "a table", "MODELS": "a table", "OPTIMIZERS": "a table", "SCHEDULES": "a table", "TASKS": "a table", "Verdict": "a record", "Expected": "a record",
    "Experiment": "a record", "Recipe": "a record", "Slides": "a record", "Table": "a record", "Run": "a record", "Method": "a base class",
    "bench": "trains for minutes; test_bench.py", "reproduce": "trains for minutes; test_recipes.py", "run_recipe": "trains for minutes; test_recipes.py",
    "claims": "seconds: it judges all that ships; test_claims.py", "claims_text": "takes what `claims` gives", "tracker": "needs a service",
    "explore": "takes a second by itself; test_explore.py", "operations": "has no arguments", "task_names": "has no arguments"}


def call(name):
    return CALLS.get(name) or getattr(grok_nb, name)


def wrong_methods(n, number):
    "A run of three steps by a method with one or two odd arguments."
    rng = random.Random(number)
    for _ in range(n):
        method = rng.choice(sorted(grok_nb.METHODS.shipped - {"standard"}))
        takes = sorted(grok_nb.METHODS.arguments(method)) or ["x"]
        changes = {k: fuzz.odd(rng) if rng.random() < .6 else rng.choice(fuzz.PLAUSIBLE) for k in rng.sample(takes, min(len(takes), rng.choice([1, 1, 2])))}
        yield (f"method {method}: {', '.join(f'{k}={fuzz.shown(v)}' for k, v in changes.items())}",
               lambda method=method, changes=changes: grok_nb.fit(small(method=method, method_args=changes), quiet=True))
