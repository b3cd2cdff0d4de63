"""Every probe, law, method, figure and panel on every model and task: it works, or says in a line what it needs.

python benchmarks/matrix.py [--kinds probe ...] [--models lstm ...] [--tasks images ...]

writes nbs/measures/matrix.csv, a row for each thing and model, a column for each task; with a choice it prints that
part and writes nothing. A cell is `works`, or `works with layer='lstm'` where a module of one's own has to be told
apart, or what is needed, in the error's own words cut short. What works gives finite numbers, or a NaN that the
docstring tells of. Anything else is a fault: it is printed, and the exit code is 1.
"""
import argparse
import functools
import html
import inspect
import math
import re
import sys
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

from grok_nb.analysis.events import held_after_fit, late_rise, learning_times, plateau
from grok_nb.analysis.own_run import will_it_grok
from grok_nb.analysis.transitions import transition
from grok_nb.analysis.watcher import Watcher
from grok_nb.display import plot
from grok_nb.display.page import page
from grok_nb.display.slides import PANELS, describe, draw_panel, figure, first_shown, keep_slides, slides
from grok_nb.display.widgets import Live, explore
from grok_nb.errors import GrokError
from grok_nb.measures.laws import LAWS, law_shares, law_table, logit_distances, lookup_null
from grok_nb.measures.probes import MEASURES
from grok_nb.methods.plain_loop import plain_loop
from grok_nb.methods.registry import METHODS
from grok_nb.models.registry import MODELS
from grok_nb.tasks.task import make_task, stream, table_task
from grok_nb.training.config import RunConfig
from grok_nb.training.fit import fit
from grok_nb.training.history import milestones, predict
from grok_nb.training.loop import Training
from grok_nb.training.network import build_model, with_task

TABLE = Path(__file__).parent.parent / "nbs" / "measures" / "matrix.csv"


# Four modules of somebody else's, written as they would be


class LSTM(nn.Module):
    "Reads operands, pixels or numbers one after another, and answers at the last."

    def __init__(self, task):
        super().__init__()
        k, self.tokens = task.x_train[0].numel(), task.n_tokens is not None
        self.width = 28 if k % 28 == 0 else 1
        self.embed = nn.Embedding(task.n_tokens, 6) if self.tokens else nn.Linear(self.width, 6)
        self.lstm, self.head = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, task.n_classes)

    def forward(self, x):
        h = self.embed(x if self.tokens else x.flatten(1).unflatten(1, (-1, self.width)))
        return self.head(self.lstm(h)[0][:, -1])


class CNN(nn.Sequential):
    "With batch norm and dropout."

    def __init__(self, task):
        if task.n_tokens is not None:
            raise ValueError("a CNN takes numbers, and the task has tokens")
        k = task.x_train[0].numel()
        shape = (1, 28, 28) if k == 784 else (1, 1, k)
        super().__init__(nn.Flatten(), nn.Unflatten(1, shape), nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(.2),
                         nn.Flatten(), nn.Linear(3 * k, 8), nn.Tanh(), nn.Linear(8, task.n_classes))


class Lens(nn.Module):
    "As TransformerLens has it: a block with layer norm and torch's fused attention, which answers at every position."

    def __init__(self, task):
        super().__init__()
        if task.n_tokens is None:
            raise ValueError("a language model takes tokens, and the task has numbers")
        self.embed, self.norm1, self.norm2 = nn.Embedding(task.n_tokens, 8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp, self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, task.n_classes)

    def forward(self, tokens):
        x = self.embed(tokens)
        q, k, v = (o.unflatten(-1, (2, 4)).transpose(1, 2) for o in self.qkv(self.norm1(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return self.head(x + self.mlp(self.norm2(x)))


class LastLens(Lens):
    "The same, cut down to the last position, as a run wants it."

    def forward(self, tokens):
        return super().forward(tokens)[:, -1]


def sequential(task):
    "A plain nn.Sequential."
    k = task.x_train[0].numel()
    first = [nn.Embedding(task.n_tokens, 6), nn.Flatten()] if task.n_tokens is not None else [nn.Flatten()]
    width = 6 * k if task.n_tokens is not None else k
    return nn.Sequential(*first, nn.Linear(width, 10), nn.ReLU(), nn.Linear(10, task.n_classes))


SMALL = dict(d_model=8, n_heads=2, d_mlp=12)
MODELS_TRIED = {  # name here -> (name in the registry, its arguments)
    "transformer": ("transformer", SMALL), "transformer, untied": ("transformer", SMALL | dict(untied=True)),
    "decoder": ("decoder", SMALL), "mlp, one-hot": ("mlp", dict(width=24)),
    **{f"mlp, {o}": ("mlp", dict(width=24, d_model=8, inputs=o)) for o in ("tied", "untied")},
    "mlp, sum": ("mlp", dict(width=24, d_model=8, inputs="tied", join="sum")),
    **{name: (name, {}) for name in ("lstm", "cnn", "lens", "lens_all", "sequential")}}
FOREIGN = dict(lstm=LSTM, cnn=CNN, lens=LastLens, lens_all=Lens, sequential=sequential)


def registered():
    "Put the four into the registry, as their owner would."
    for name, make in FOREIGN.items():
        if name not in MODELS:
            MODELS.register(name, make)


ORDER = [3, 0, 6, 1, 5, 2, 4]
TASKS_TRIED = {  # name here -> what a config says of it, or a function that makes it
    "table": dict(task="add", p=7, train_frac=.5),
    "one-hot table": dict(task="add", p=7, train_frac=.5, encoding="one_hot"),
    "x/y": dict(task="x/y", p=7, train_frac=.5),
    "rows in another order": lambda: table_task([[(a + b) % 7 for b in range(7)] for a in ORDER], .5, name="shuffled", rows=ORDER),
    "S5": dict(task="symmetric", p=5, train_frac=.02),
    "wrong labels": dict(task="add", p=7, train_frac=.5, wrong_labels=.2),
    "sum of 3": dict(task="sum", p=5, operands=3, n_train=40, n_test=40),
    "parity": dict(task="parity", n_bits=12, k=2, n_train=40, n_test=40),
    "circle": dict(task="circle", n_train=40, n_test=40),
    "images": dict(task="mnist", n_train=40),
    "regression": dict(task="teacher", n_inputs=6, n_train=40, n_test=40)}


def own(task):
    "The task, if it is handed over; None: its config names it."
    return task_named(task) if callable(TASKS_TRIED[task]) else None


@functools.cache
def task_named(name):
    made = TASKS_TRIED[name]
    return made() if callable(made) else make_task(made["task"], **{k: v for k, v in made.items() if k != "task"})


def config_of(model, task, **more):
    "A tiny run of this model on this task, and the task."
    name, args = MODELS_TRIED[model]
    found, says = task_named(task), {} if own(task) else TASKS_TRIED[task]
    settings = dict(steps=12, log_every=2, frames=4, hold=2, stop_factor=0, dtype="float64", loss="mse" if found.regression else "cross_entropy")
    config = RunConfig(model=name, model_args=args, **({k: v for k, v in says.items() if k != "task"} | settings | more | {"task": says.get("task", "add")}))
    return with_task(config, own(task)), found.to("cpu", torch.float64)


@functools.cache
def network(model, task):
    "The network at step 0, or the error that says that they do not go together."
    try:
        return build_model(*config_of(model, task)).eval()
    except GrokError as e:
        return e


# One cell


PLAINER = ((r"^panel '\w+' needs ", ""), (r"^\w+ needs? a square table; that of", "a square table: that of"),
           (r"task '[^']*'", "the task"), (r"\([\d, ]+\)", "(...)"), (r"\b\d+ (numbers|operands|pairs)", r"some \1"), (r"^inputs = .*?; these", "these"),
           (r"^(?:an? |this )(CNN|LSTM|LastLens|Sequential)\b", "this module"), (r"(families that it is learned from), .*", r"\1"),
           (r"inputs (\(...\)) of type \S+:", r"inputs \1:"))


def said(error):
    "What an error says, without what differs from task to task, cut short."
    text = re.sub(r"^model '\w+' on Task .*?Error: ", "", html.unescape(" ".join(str(error).split())))  # the words of a module's owner
    for found, put in PLAINER:
        text = re.sub(found, put, text)
    return text if len(text) <= 150 else text[:147].rsplit(" ", 1)[0] + " ..."


# documented: a law without statements, one class, and a run that has not come to it
MAY_BE_NAN = re.compile(rf"^law/|^({'|'.join(LAWS)})/|^class_ratio")
ANY = re.compile("")


def numbers_in(value):
    "(name, number) of all that a thing gave."
    if isinstance(value, dict):
        return [(k, v) for name, o in value.items() for k, v in [(str(name), o)] if isinstance(v, (int, float))] + \
            [pair for o in value.values() if not isinstance(o, (int, float)) for pair in numbers_in(o)]
    if isinstance(value, pd.DataFrame):
        return [(str(row), float(v)) for row, values in value.iterrows() for v in pd.to_numeric(values, errors="coerce").dropna()]
    if isinstance(value, torch.Tensor):
        return [("tensor", o) for o in value.detach().double().flatten()[:1000].tolist()]
    return []


class Fault(Exception):
    "What must not happen."


def call(f, nan=MAY_BE_NAN):
    "What f gives; several warnings, and numbers that are none where the name does not allow it, are faults."
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        value = f()
    if len(told) > 1:
        raise Fault(f"{len(told)} warnings: {told[0].message}")
    if told and not issubclass(told[0].category, UserWarning):
        raise Fault(f"{told[0].category.__name__}: {told[0].message}")
    bad = [name for name, v in numbers_in(value) if math.isinf(v) or (math.isnan(v) and not nan.search(name))]
    if bad:
        raise Fault(f"not finite: {', '.join(bad[:4])}")
    return value


DISGUISED = re.compile(r"\b(?!Grok)\w*(Error|Exception)\b")  # an error of torch or Python inside one of ours


def cell(f, *ways, nan=MAY_BE_NAN):
    "`works`, `works with ...` by the first of some ways, or what is needed; 'FAULT ...' for anything else."
    need = ""
    for how in ({}, *ways):
        try:
            call(functools.partial(f, **how), nan)
            shown = ", ".join(f"{k}={v!r}" for k, v in how.items())
            return "works" + f" with {shown}"*bool(how)
        except GrokError as e:
            if DISGUISED.search(str(e)):
                return f"FAULT {e}"
            need = f"needs: {said(e)}"
        except Exception as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            return f"FAULT {type(e).__name__}: {e} ({Path(where.filename).name}:{where.lineno})"
    return need


# What a module of one's own has to be told: where its layers are


def places(model, task):
    "Arguments of probes for a module that does not name its layers; {} for this package's."
    if model not in FOREIGN:
        return {}
    layer = {"lstm": "lstm", "cnn": "8", "sequential": "3" if task_named(task).n_tokens is not None else "2"}.get(model, "mlp")
    found = dict(layer=layer, entropy=[layer], information=[[layer, "output"]], label_information=["output"])
    if task_named(task).n_tokens is not None:
        found["at"] = "0" if model == "sequential" else "embed"
    if model == "lens_all":
        found["read"] = "last"
    return found


def ways_of(f, model, task):
    "What to try when a plain call needs something."
    takes = inspect.signature(f).parameters
    known, found = {k: v for k, v in places(model, task).items() if k in takes}, []
    mse = dict(loss="mse") if task_named(task).regression and "loss" in takes else {}
    for way in ({k: v for k, v in known.items() if k == "read"}, mse, known, known | mse):
        if way and way not in found:
            found.append(way)
    return found


# The kinds


def probes(model, task):
    net, data = network(model, task), config_of(model, task)[1]
    for name, measure in MEASURES.items():
        if name in FOREIGN:
            continue
        few = dict(draws=2) if "draws" in inspect.signature(measure).parameters else {}

        def once(measure=measure, few=few, **how):
            return measure(net, data, stream(0, "probe"), **few, **how)
        yield name, cell(once, *ways_of(measure, model, task))


def laws(model, task):
    net, data = network(model, task), config_of(model, task)[1]
    law, read = MEASURES["law"], [dict(read="last")] if model == "lens_all" else []
    for name in LAWS:
        yield name, cell(lambda name=name, **how: law(net, data, only=[name], **how), *read)

    def logits():
        if data.table is None:
            return torch.zeros(1, data.n_classes)
        out = predict(net, data.inputs)
        return out[:, -1] if out.dim() == 3 else out
    yield "law_shares", cell(lambda: law_shares(logits().argmax(1), data, only=["commutativity"]))
    yield "law_table", cell(lambda: law_table(logits().argmax(1), data, 2))
    yield "lookup_null", cell(lambda: lookup_null(data, draws=2, only=["commutativity"]))
    yield "logit_distances", cell(lambda: logit_distances(logits(), data, 2))


SLOW_TO_ACT = ("standard", "grokfast_ma", "norm_clamp")  # a window of steps; a norm that has to grow first


def methods(model, task):
    plain = {}
    for name in METHODS if model != "lens_all" else ["standard"]:
        def once(name=name, **how):
            config, data = config_of(model, task, method=name, method_args=how)
            t = Training([config], tasks=[data])
            for _ in range(3):
                objective, acc, sigma = t.forward()
                t.update(objective, acc)
            if name == "standard":
                plain.update({k: w.detach() for k, w in t.params.items()})
            elif name not in SLOW_TO_ACT and all(torch.equal(w, plain[k]) for k, w in t.params.items()):
                raise Fault(f"{name} changes nothing")
            return {"objective": float(objective), **t.params}
        yield name, cell(once, *method_ways(name, model, task))


def method_ways(name, model, task):
    "Where noise goes, of a module of one's own on tokens."
    at = places(model, task).get("at")
    return [dict(at=at)] if at and "at" in METHODS.arguments(name) else []


class _Last:
    "What makes a row an input of all positions."

    def __call__(self, out):
        return out[:, -1]

    def __repr__(self):
        return "lambda out: out[:, -1]"


LAST = _Last()


def loops(model, task):
    data = config_of(model, task)[1]
    for name in METHODS:
        def once(name=name, **how):
            torch.manual_seed(0)
            twin = build_model(*config_of(model, task)).train()
            loop = plain_loop(name, twin, task=data, loss="mse" if data.regression else "cross_entropy", **how)
            optimizer = torch.optim.SGD(twin.parameters(), lr=1e-2)
            for _ in range(2):
                optimizer.zero_grad()
                loss = loop.loss(data.x_train, data.y_train)
                loss.backward()
                loop.gradients()
                optimizer.step()
                loop.weights()
            return {"loss": loss.item(), **dict(twin.named_parameters())}
        known = places(model, task)
        more = {"at": known.get("at"), "hidden": known.get("layer"), "read": LAST if "read" in known else None}
        ways = [{k: v for k, v in more.items() if v is not None and k in keys} for keys in (("read",), ("at", "read"), ("hidden", "read"), ("at", "hidden", "read"))]
        yield name, cell(once, *[w for i, w in enumerate(ways) if w and w not in ways[:i]])


@functools.cache
def trained(model, task):
    "A run of a few steps, or the error that there was."
    config, _ = config_of(model, task, probes=[dict(name="norms", every=2)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit(config, quiet=True, task=own(task))
    except GrokError as e:
        return e


def _closed(f):
    def drawn(*args, **more):
        try:
            return f(*args, **more)
        finally:
            plt.close("all")
    return drawn


def figures(model, task):
    if model == "lens_all":  # a run wants its last position, which is `lens`
        return
    run, data = trained(model, task), own(task)
    for name, draw in FIGURES.items():
        ways = method_ways("fixed_noise", model, task) if name == "live" else []
        yield name, cell(_closed(lambda draw=draw, **how: _throw(run) if isinstance(run, GrokError) else draw(run, data, **how)), *ways)
    for name in PANELS:
        yield f"panel {name}", cell(lambda name=name: _throw(run) if isinstance(run, GrokError) else draw_panel(_axes(), slides(run, data), 0, name))


def _throw(e):
    raise e


def _axes():
    return Figure().subplots()


FIGURES = {
    "plot_run": lambda run, task: plot.plot_run(run.history, hold=2, ax=_axes()),
    "plot_methods": lambda run, task: plot.plot_methods({"standard": run.history}, hold=2),
    "plot_seeds": lambda run, task: plot.plot_seeds([run.history]*2, ax=_axes()),
    "plot_aligned": lambda run, task: plot.plot_aligned([run.history], "norm/l2", _axes(), "#000000", [4.]),
    "plot_learned": lambda run, task: plot.plot_learned(run.history, {"accuracy": "test/acc"}, _axes(), 2),
    "slides": lambda run, task: slides(run, task),
    "describe": lambda run, task: describe(film := slides(run, task), first_shown(film)),
    "figure": lambda run, task: figure(keep_slides(slides(run, task), 2), 1),
    "page": lambda run, task: page(slides(run, task)),
    "explore": lambda run, task: _explored(run, task),
    "live": lambda run, task, **how: _lived(replace(run.config, method="fixed_noise", method_args=how), task)}


def _explored(run, task):
    widget = explore(run, task=task)
    widget.slider.value = len(widget.slider.options) - 1
    if not widget.picture.value:
        raise Fault(widget.caption.value)


def _lived(config, task):
    widget = Live(config, every=100., task=task)
    widget.go()
    widget.thread.join()
    if not widget.picture.value:
        text = re.sub("<[^>]*>", "", widget.caption.value)
        raise GrokError(text.removeprefix("failed: "))


ANALYSIS = {
    "milestones": lambda run: milestones(run),
    "transition": lambda run: transition(run.history["step"], run.history["test/acc"])._asdict(),
    "late_rise": lambda run: late_rise(run.history),
    "learning_times": lambda run: learning_times(run.history),
    "plateau": lambda run: plateau(run.history),
    "held_after_fit": lambda run: {"rise": held_after_fit(run.history, "test/acc")},
    "will_it_grok": lambda run: will_it_grok(run.history, run.config),
    "Watcher": lambda run: [Watcher(say=lambda text: None).row(*o) for o in run.history[["step", "train/acc", "test/acc"]].to_numpy()] and None}


def analysis(model, task):
    if model == "lens_all":
        return
    run = trained(model, task)
    for name, f in ANALYSIS.items():
        yield name, cell(lambda f=f: _throw(run) if isinstance(run, GrokError) else f(run), nan=ANY)


KINDS = {"probe": probes, "law": laws, "method": methods, "method in your loop": loops, "figure": figures, "analysis": analysis}


def fits(model, task):
    "`works`, or why the model does not take the task."
    net = network(model, task)
    if isinstance(net, GrokError):
        return f"needs: {said(net)}"
    return cell(lambda: net(config_of(model, task)[1].x_train))


def cells(kinds=KINDS, models=MODELS_TRIED, tasks=TASKS_TRIED, tell=lambda text: None):
    "(kind, thing, model, task, cell) of all."
    registered()
    for model in models:
        for task in tasks:
            tell(f"{model} on {task}")
            yield "model", "forward", model, task, (here := fits(model, task))
            for kind in kinds if here == "works" else ():
                for thing, found in KINDS[kind](model, task):
                    yield kind, thing, model, task, found


def table(found):
    "Cells as the file has them: a row for each thing and model, a column for each task; empty where the model does not take it."
    frame = pd.DataFrame(list(found), columns=["kind", "thing", "model", "task", "cell"])
    kinds, names = frame[["kind", "thing"]].drop_duplicates(), frame["model"].unique()
    wide = frame.pivot(index=["kind", "thing", "model"], columns="task", values="cell")
    order = [(*row, model) for row in kinds.itertuples(index=False) for model in names]
    return wide.reindex(order)[[t for t in TASKS_TRIED if t in wide]].fillna("").reset_index()


def faults(found):
    return [o for o in found if o[4].startswith("FAULT")]


def main():
    parser = argparse.ArgumentParser()
    for name, known in (("kinds", KINDS), ("models", MODELS_TRIED), ("tasks", TASKS_TRIED)):
        parser.add_argument(f"--{name}", nargs="+", choices=known)
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {k: v for k, v in vars(args).items() if v}
    found = list(cells(**chosen, tell=lambda text: print(text, file=sys.stderr, flush=True)))
    for row in faults(found):
        print(*row, sep=" | ")
    short = pd.Series([o[4].split(" with ")[0].split(":")[0].split(" ")[0] for o in found]).value_counts()
    print(short.to_string())
    if chosen:
        for row in found:
            print(*row, sep=" | ")
    else:
        table(found).to_csv(TABLE, index=False, lineterminator="\n")
        print(f"written: {TABLE}")
    sys.exit(bool(faults(found)))


if __name__ == "__main__":
    main()
