"""Wrong arguments, at random: GrokError or an answer, within a second and 256 MB more; nothing else.

python benchmarks/fuzz.py [--calls 10000] [--probes 10000] [--methods 3000] [--seed 0]

Every public function of the rooms below, and of what `grok_nb` names itself (`fuzz_face.py`), is called with good
arguments of which one or two are replaced by odd ones; `test_fuzz.py` sees to it that none is left out. Probes are called
on two networks, and methods train for three steps. A call runs in a fork of this process whose memory is limited. One that
takes longer than a second, raises anything but GrokError, or ends the process is printed.
"""
import argparse
import ctypes
import errno
import importlib
import inspect
import json
import math
import os
import random
import re
import resource
import select
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import nn

from grok_nb.analysis.survival import forecaster
from grok_nb.errors import GrokError
from grok_nb.measures.entropy import Estimate, check_features_matrix, estimate, joint_product
from grok_nb.measures.probes import MEASURES, Probe
from grok_nb.measures.spectra import irreps
from grok_nb.models.transformer_fast import FastTransformer
from grok_nb.models.mlps import MLP
from grok_nb.tasks.groups import operation
from grok_nb.tasks.task import Task, table_task

ROOMS = ("errors", "files", "measures.features", "measures.entropy", "measures.information", "measures.robustness",
         "measures.radius", "measures.laws", "measures.spectra", "measures.probes", "analysis.transitions",
         "analysis.events", "analysis.forecast", "analysis.watcher")
SECONDS, MEMORY = 1., 1 << 28


def seed(n=0):
    return torch.Generator().manual_seed(n)


# Good arguments


class Conv(nn.Sequential):
    "A small foreign network, with batch norm and dropout."

    def __init__(self):
        super().__init__(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(.5), nn.Flatten(),
                         nn.Linear(18, 6), nn.ReLU(), nn.Linear(6, 3))


def pairs_task():
    return table_task(operation("add", 5), .5, name="add:5")


def images_task(n=12, d=16):
    x, y = torch.rand(2 * n, d, generator=seed(1)) + .1, torch.arange(2 * n) % 3
    return Task("theirs", x[:n], y[:n], x[n:], y[n:], n_classes=3)


def transformer():
    return FastTransformer(5, 5, 8, 2, 8, generator=seed())


def mlp(task=None):
    return MLP(16, 3, width=6, generator=seed())


def conv():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Conv()


def history(n=60):
    "A run that fits at step 100 and groks at step 2000."
    steps = np.arange(n) * 50.
    rise = 1 / (1 + np.exp(-(steps - 2000) / 100))
    noise = np.random.default_rng(0).normal(0, .01, n)
    return pd.DataFrame({"step": steps, "train/acc": np.minimum(1, .2 + steps / 100), "test/acc": np.clip(rise + noise, 0, 1), "train/loss": np.exp(-steps / 500),
                         "norm/l2": 40 - 10 * rise + noise, "test/acc_mirrored": rise, "test/acc_unmirrored": rise**2, "law/commutativity/train": rise,
                         "law/commutativity/train_unmirrored": rise})


def table():
    return operation("add", 5)


def rows(n=9, d=4, s=0):
    return torch.randn(n, d, generator=seed(s))


def forecast_numbers():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"))
    return dict(X=X, y=X["a"].to_numpy() > 0, groups=np.arange(60) % 20)


def config():
    from grok_nb.training.config import RunConfig
    return RunConfig(p=5, steps=3000)


def a_table():
    from grok_nb.runs.table import results
    return results("tiny")


def where():
    return Path(tempfile.mkdtemp())


def written(kind):
    "A good file of a kind."
    from grok_nb.files import csv_bytes, save_checkpoint
    path = where() / "file"
    if kind == "json":
        path.write_text('{"a": 1}')
    elif kind == "csv":
        path.write_bytes(csv_bytes(history()))
    elif kind == "checkpoint":
        save_checkpoint(path, {"a": torch.ones(3)})
    return path


def arrays():
    from grok_nb.files import arrays_bytes
    return arrays_bytes({"a": np.ones(3)})


def state():
    from grok_nb.files import state_bytes
    return state_bytes({"a": torch.ones(3), "b": [1, {"c": None}]})


def figure():
    from matplotlib.figure import Figure
    return Figure(figsize=(1, 1))


class Never:
    "A method of a class: it is called on an object made anew."


def goods():
    "room.function -> function that makes its arguments, by name."
    from grok_nb.analysis.transitions import NO_TURN, lags
    from grok_nb.measures.features import undisturbed  # noqa: F401
    unit = lambda s: check_features_matrix(rows(30, 4, s))  # noqa: E731
    found = {
        "errors.shown": lambda: dict(value=1), "errors.check_whole": lambda: dict(name="p", value=3), "errors.check_number": lambda: dict(name="p", value=3.),
        "errors.check_name": lambda: dict(what="p", name="a", known=["a", "b"]), "errors.check_names": lambda: dict(what="p", names=["a"], known=["a", "b"]),
        "errors.same_length": lambda: dict(a=[1, 2], b=[3, 4]), "errors.check_path": lambda: dict(name="p", value="a"),
        "files.write_atomic": lambda: dict(path=where() / "a", data=b"a"), "files.read_plain": lambda: dict(path=written("json"), limit=100),
        "files.unfinished": lambda: dict(folder=where()), "files.write_figure": lambda: dict(path=where() / "a.png", figure=figure()),
        "files.read_json": lambda: dict(path=written("json")), "files.free_memory": dict, "files.check_room": lambda: dict(what="a", need=1),
        "files.arrays_bytes": lambda: dict(arrays={"a": np.ones(3)}, compress=True), "files.read_arrays": lambda: dict(source=arrays(), limit=1000),
        "files.state_bytes": lambda: dict(state={"a": torch.ones(3)}), "files.read_state": lambda: dict(source=state()),
        "files.check_file": lambda: dict(name="path", value="a"), "files.file_sha256": lambda: dict(path=written("json")), "files.save_checkpoint": lambda: dict(path=written("checkpoint"), state={"a": torch.ones(3)}),
        "files.load_checkpoint": lambda: dict(path=written("checkpoint")), "files.drop_checkpoint": lambda: dict(path=written("checkpoint")),
        "files.csv_bytes": lambda: dict(table=history()), "files.read_csv": lambda: dict(path=written("csv"), limit=10**6),
        "measures.features.gaussian": lambda: dict(sigma=.1, generator=seed()), "measures.features.names_features": lambda: dict(model=conv()),
        "measures.features.feature_names": lambda: dict(model=conv()), "measures.features.slow_twin": lambda: dict(model=transformer()),
        "measures.features.logits_of": lambda: dict(model=conv(), x=images_task().x_train, read="rows"),
        "measures.features.observe": lambda: dict(model=conv(), x=images_task().x_train, names=["3", "6"], noise=None, at="input", positions="all", read="rows"),
        "measures.entropy.slow_entropy": lambda: dict(Z=rows(), alpha=1.), "measures.entropy.slow_mutual_information": lambda: dict(Z1=rows(), Z2=rows(s=1), alpha=1.),
        "measures.entropy.check_features_matrix": lambda: dict(Z=rows(), name="Z"),
        "measures.entropy.spectrum_entropy": lambda: dict(lam=torch.tensor([.5, .5]), alpha=1., n=2), "measures.entropy.matrix_entropy": lambda: dict(Z=rows(), alpha=1.),
        "measures.entropy.gram_entropy": lambda: dict(R=torch.eye(3), alpha=1.),
        "measures.entropy.joint_product": lambda: dict(Z1=unit(0), Z2=unit(1), k=2, uses=3, memory=1e9, way=None),
        "measures.entropy.lanczos_quadrature": lambda: dict(product=joint_product(unit(0), unit(1), 2, 9)[0], f=torch.special.entr,
                                                            V=torch.ones(2, 30).double(), squares=.1, steps=9),
        "measures.entropy.estimate": lambda: dict(value=torch.tensor(1.), deviations=torch.tensor([1., -1])),
        "measures.entropy.mutual_information": lambda: dict(Z1=rows(), Z2=rows(s=1), alpha=1., way="auto", probes=4, steps=5, seed=0),
        "measures.information.mean_and_error": lambda: dict(estimates=[estimate(torch.tensor(1.)), estimate(torch.tensor(2.))]),
        "measures.information.perturbed_information": lambda: dict(
            model=conv(), x=images_task().x_train, labels=images_task().y_train, sigma=.1, entropy=("6",), information=(("3", "6"),), label_information=("8",),
            alpha=1., draws=2, probes=4, generator=seed(), seed=0, at="input", read="rows"),
        "measures.robustness.weight_norm": lambda: dict(model=conv(), p=2.), "measures.robustness.trained_weights": lambda: dict(model=conv()),
        "measures.robustness.perturbation_error": lambda: dict(model=conv(), x=images_task().x_train, sigma=.1, draws=2, generator=seed(), at="input", read="rows"),
        "measures.robustness.input_gradient": lambda: dict(model=conv(), x=images_task().x_train, probes=2, generator=seed(), at="input", read="rows"),
        "measures.robustness.gauss_newton_trace": lambda: dict(model=conv(), x=images_task().x_train, probes=2, generator=seed(), read="rows"),
        "measures.robustness.sharpness": lambda: dict(model=conv(), x=images_task().x_train, y=images_task().y_train, loss="mse", probes=2, generator=seed(),
                                                      read="rows"),
        "measures.radius.first_weight": lambda: dict(model=mlp(), x=images_task().x_train),
        "measures.radius.lemma_sides": lambda: dict(model=mlp(), x=images_task().x_train, weight=None, probes=2, generator=seed()),
        "measures.radius.certified_radius": lambda: dict(g=1., lipschitz=torch.ones(3)),
        "measures.radius.nearest_distance": lambda: dict(x=rows(), y=torch.arange(9), x_train=rows(8), y_train=torch.arange(8), block=4),
        "measures.radius.neighbour_probability": lambda: dict(distance=torch.ones(3), radius=torch.ones(3)),
        "measures.laws.statements": lambda: dict(law="latin", answers=table(), table=table(), most=100, generator=seed()),
        "measures.laws.law_shares": lambda: dict(answers=table(), table=table(), train=torch.arange(25) % 2 == 0, only=("latin", "commutativity"), most=100, seed=0),
        "measures.laws.lookup_null": lambda: dict(table=table(), train=torch.arange(25) % 2 == 0, draws=2, only=("latin",), seed=0),
        "measures.laws.law_table": lambda: dict(answers=table(), task=pairs_task(), draws=2),
        "measures.laws.logit_distances": lambda: dict(logits=rows(25, 5), table=table(), moves=3),
        "measures.spectra.fourier_power": lambda: dict(W=rows()), "measures.spectra.gini": lambda: dict(shares=torch.rand(5)),
        "measures.spectra.key_frequencies": lambda: dict(power=torch.rand(5), share=.9), "measures.spectra.irreps": lambda: dict(table=table()),
        "measures.spectra.irrep_power": lambda: dict(W=rows(5, 3), parts=irreps(table())), "measures.spectra.waves": lambda: dict(p=5, frequencies=[1, 2]),
        "measures.spectra.restricted_loss": lambda: dict(logits=rows(25, 5), labels=table().flatten(), frequencies=[1]),
        "measures.spectra.excluded_loss": lambda: dict(logits=rows(25, 5), labels=table().flatten(), frequencies=[1], train=torch.arange(25) % 2 == 0),
        "measures.spectra.effective_rank": lambda: dict(Z=rows()), "measures.spectra.cka": lambda: dict(Z1=rows(), Z2=rows(s=1)),
        "errors.check_argument": lambda: dict(name="p", value=3, kind=int, allowed=(0, 5)),
        "errors.check_callable": lambda: dict(name="f", value=len), "measures.features.check_read": lambda: dict(name="read", read="last"),
        "measures.features.check_labels": lambda: dict(y=torch.arange(3), out=torch.zeros(3, 3)),
        "measures.information.check_layer_pairs": lambda: dict(name="information", pairs=[("a", "b")]),
        "measures.laws.cell_order": lambda: dict(task=pairs_task()), "measures.probes.check_task": lambda: dict(name="task", task=pairs_task()),
        "measures.probes.probe_spec": lambda: dict(spec={"name": "norms", "every": 5}),
        "analysis.transitions.check_curve": lambda: dict(steps=[1, 2], values=[3, 4]),
        "analysis.transitions.transition": lambda: dict(steps=history()["step"], values=history()["test/acc"], log=False, after=0, penalty=16.),
        "analysis.transitions.cross_lag": lambda: dict(a=history()["test/acc"], b=history()["norm/l2"], most=5),
        "analysis.transitions.lags": lambda: dict(histories=[history()], measures=["norm/l2"], against="test/acc", fitted=.99),
        "analysis.transitions.lag_table": lambda: dict(table=lags([history()] * 2, ["norm/l2"])),
        "analysis.transitions.Transition": lambda: NO_TURN._asdict(),
        "analysis.events.held_after_fit": lambda: dict(history=history(), measure="test/acc", level=.9, hold=100),
        "analysis.events.learning_times": lambda: dict(history=history()), "analysis.events.late_rise": lambda: dict(history=history(), share=.9),
        "analysis.events.change_times": lambda: dict(history=history(), measure="norm/l2", shares=(.5,), level=.9), "analysis.events.plateau": lambda: dict(history=history()), "analysis.events.paired_steps": lambda: dict(table=a_table(), level="test95", columns="method"),
        "analysis.forecast.cut_step": lambda: dict(history=history(), config=config(), share=.2),
        "analysis.forecast.values_at": lambda: dict(history=history(), measures=["norm/l2"], cut=100.),
        "analysis.forecast.at_cut": lambda: dict(history=history(), config=config(), measures=["norm/l2"], share=.2),
        "analysis.forecast.groks_in_budget": lambda: dict(history=history(), config=config(), level=.95),
        "analysis.forecast.forecast_data": lambda: dict(histories=[history()], configs=[config()], measures=["norm/l2"], share=.2),
        "analysis.forecast.held_out": lambda: dict(**forecast_numbers(), folds=3, made=forecaster),
        "analysis.forecast.auc_interval": lambda: dict(y=np.arange(9) % 2 == 0, scores=np.arange(9.), groups=np.arange(9) // 2, draws=50, level=.9, within=np.arange(9) // 6),
        "analysis.forecast.auc_gain": lambda: dict(y=np.arange(9) % 2 == 0, scores=np.arange(9.), base=np.ones(9), groups=np.arange(9) // 2, draws=50, level=.9),
        "analysis.forecast.caught_early": lambda: dict(y=np.arange(9) % 2 == 0, scores=np.arange(9.), lead=np.arange(9.), false_alarms=.1),
        "analysis.forecast.norm_delay": lambda: dict(squared_norm=2., target=1., lr=1e-3, weight_decay=1.),
        "analysis.forecast.dmd_residual": lambda: dict(values=np.sin(np.arange(40.))[:, None], window=5, rank=2),
        "analysis.watcher.Watcher": lambda: dict(level=.9, hold=100, say=len, forecast=None),
    }
    for name in MEASURES:
        found[f"measures.probes.{name}"] = lambda name=name: probe_arguments(name)
    import fuzz_face  # it takes the good arguments above
    return found | {f"face.{name}": good for name, good in fuzz_face.GOOD.items()}


OURS = {"errors": ("value", "a", "b"), "measures.features.check_read": ("read",), "measures.information.check_layer_pairs": ("pairs",),
        "measures.probes.check_task": ("task",), "files.check_file": ("value",), "files.check_room": ("need",)}  # what comes from a caller of ours; the rest is written by us

SKIP = {  # (name: why) what is no function to be called with values, or is called by another name here
    "GrokError": "an exception", "new_file": "by write_atomic", "plain_file": "by read_plain", "undisturbed": "by every probe", "only_looks": "by every probe",
    "hooks": "by observe", "READS": "a table", "LAWS": "a table", "MEASURES": "a table", "Estimate": "by estimate", "Probe": "by probe arguments",
    "note": "prints", "gist": "of an exception", "room_for": "a context", "measure": "a decorator", "checked": "a decorator", "check_arguments": "by every function", "foreign": "a context", "NO_TURN": "a value", "PENALTY": "a value", "CONFIGURATION": "a table", "PLAIN": "a table", "PERTURBED": "a table", "SETS": "a table",
    "forecast_problem": "takes a table that ships", "forecasts": "takes a table that ships, and minutes", "will_it_grok": "seconds: it reads a table that ships"}


def probe_arguments(name):
    "Good arguments of a probe: on the transformer, but `bound` on images."
    task, net = (images_task(), mlp()) if name == "bound" else (pairs_task(), transformer())
    takes = inspect.signature(MEASURES[name]).parameters.values()
    return dict(model=net, task=task, generator=seed()) | {o.name: o.default for o in list(takes)[3:]}


def public(room):
    "name -> function or class that a room exports."
    if room == "face":
        import fuzz_face
        return {name: fuzz_face.call(name) for name in fuzz_face.GOOD}
    module = importlib.import_module(f"grok_nb.{room}")
    return {name: getattr(module, name) for name in module.__all__}


def missing():
    "Public names that are neither called here nor named in `SKIP`."
    import fuzz_face
    import grok_nb
    known = goods()
    called = {name.rpartition(".")[2] for name in known} | set(SKIP) | set(fuzz_face.SKIP)
    return [f"{room}.{name}" for room in ROOMS for name in public(room) if f"{room}.{name}" not in known and name not in SKIP] \
        + [f"grok_nb.{name}" for name in grok_nb.__all__ if name not in called]


# Odd arguments


def odd(rng):
    "Something that hardly any argument can be, or an edge of what it can be."
    kind = rng.randrange(4)
    if kind == 0:  # numbers
        return rng.choice([-1, 0, 1, 2, 3, -.5, .5, 1.5, 1e-300, 5e-324, 1e308, math.nan, math.inf, -math.inf, 10**9, 10**12, 2**63, 10**400, -10**9, True, 1 + 1e-12,
                           np.int64(2), np.float32(.5), np.float64(math.nan), 1j])
    if kind == 1:  # plain values
        return rng.choice([None, "", "x", "input", "rows", "last", "train", "\ud800", "\0", "a" * 10**5, b"x", [], {}, (), [None], ["x"], [[]], [1, 2], {"a": 1}, {"": None},
                           {1, 2}, range(3), [math.nan], ["x", 1], [("x", "y")], [["resid_post"]], "resid_post", ["resid_post"], object(), int, len, iter([1]),
                           {"name": "norms", "every": 10**400}, SimpleNamespace()])
    shape = rng.choice([(), (0,), (1,), (3,), (9,), (25,), (0, 3), (3, 0), (5, 5), (9, 4), (12, 16), (25, 5), (2, 3, 4), (12, 2)])
    if kind == 2:  # tensors
        x = torch.randn(shape, generator=seed(rng.randrange(9))) * rng.choice([0., 1., 1., 1e-30, 1e30, -1.])
        if x.numel() and rng.random() < .2:
            x.view(-1)[0] = rng.choice([math.nan, math.inf])
        return x.to(rng.choice([torch.float32, torch.float64, torch.float64, torch.int64, torch.bool, torch.complex64, torch.uint8, torch.float16])) \
            if x.isfinite().all() else x
    return rng.choice([lambda: np.zeros(shape), lambda: np.full(shape, math.nan), lambda: pd.DataFrame(), lambda: pd.DataFrame({"step": [0], "a": ["x"]}), history,
                       lambda: history().iloc[::-1], lambda: history().iloc[:1], lambda: history().astype(str), lambda: pd.Series([1, 2]), conv, mlp, transformer,
                       lambda: nn.Identity(), lambda: nn.Linear(16, 3), lambda: nn.Sequential(), pairs_task, images_task, lambda: np.array(["a"]), lambda: np.array([object()]),
                       lambda: torch.ones(3, requires_grad=True), lambda: estimate(torch.tensor(1.)), lambda: [estimate(torch.tensor(1.))], seed, figure,
                       lambda: torch.zeros(2, 2).to_sparse(), lambda: Path("/nowhere/at all"), where, lambda: Estimate(None, None, None)])()


PLAUSIBLE = [1, 2, 3, 8, .1, .5, 1.5, 4., 0, None, "test", "train", "mse", "ab", "all", "input", "last", "rows", "resid_post", "embed", "mlp_act", "6", "3",
             ["resid_post"], ["6", "3"], [["embed", "resid_post"]], [["3", "6"]], ["latin"], [], {"6": "rows"}]


def shown(value):
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text.encode("ascii", "backslashreplace").decode()[:60].replace("\n", " ")


def wrong_calls(n, number, only=None):
    "(what is called, function) of n calls, the same for the same number."
    import fuzz_face
    rng, known = random.Random(number), goods()
    names = sorted(k for k in known if only is None or k.startswith(only))
    for _ in range(n):
        name = rng.choice(names)
        room, _, function = name.rpartition(".")
        args = known[name]()
        free = OURS.get(name, OURS.get(room, args)) if room != "face" else fuzz_face.WRITTEN_BY_US.get(function, args)
        free = sorted(k for k in args if k in free) if not name.startswith("errors.check_name") else ["name" if name == "errors.check_name" else "names"]
        change = rng.sample(free, min(len(free), rng.choice([1, 1, 2])))
        changes = {k: odd(rng) for k in change}
        if name == "measures.probes.probe_spec" and rng.random() < .7:
            probe = rng.choice(sorted(MEASURES))
            takes = sorted(set(probe_arguments(probe)) - {"model", "task", "generator"}) + ["every"]
            args, changes = {"spec": {"name": probe, rng.choice(takes): odd(rng)}}, {}
            changes = {"spec": args["spec"]}
        call = public(room)[function]
        yield f"{name}({', '.join(f'{k}={shown(v)}' for k, v in changes.items())})", lambda call=call, args=args, changes=changes: call(**(args | changes))


def wrong_probes(n, number):
    "The same for whole probes: what a config names, with one or two odd arguments, on a network that it knows or a foreign one."
    rng = random.Random(number)
    for _ in range(n):
        name = rng.choice(sorted(MEASURES))
        args = probe_arguments(name)
        takes = sorted(set(args) - {"model", "task", "generator"})
        change = rng.sample(takes, min(len(takes), rng.choice([1, 1, 2]))) or [rng.choice(["every", "x"])]
        changes = {k: odd(rng) if rng.random() < .6 else rng.choice(PLAUSIBLE) for k in change}
        net, task = (args["model"], args["task"]) if rng.random() < .6 else (conv(), images_task())
        text = f"{name} of {type(net).__name__}: {', '.join(f'{k}={shown(v)}' for k, v in changes.items())}"
        yield text, lambda name=name, changes=changes, net=net, task=task: Probe({"name": name, **changes})(net, task)


# The judge


class Endless(BaseException):
    "What no `except Exception` takes for an error of its own."


def outcome(call):
    "'refused', 'answered', or what is wrong with a call."
    def late(which, frame):
        raise Endless

    signal.signal(signal.SIGALRM, late)
    before, start = resident(), time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
        said = "answered"
    except GrokError as e:
        said = "refused" if len(str(e).strip()) > 10 else f"says nothing: {e}"
        try:
            str(e).encode()
        except UnicodeEncodeError:
            said = "an error that cannot be printed"
    except OSError as e:
        said = "refused" if e.errno in (errno.ENOENT, errno.EACCES, errno.ENOSPC) else f"OSError: {e}"  # what the system says of a place to write in
    except BaseException as e:
        trace, last = e.__traceback__, e.__traceback__
        while trace:  # the deepest place that is ours
            last = trace if "grok_nb" in trace.tb_frame.f_code.co_filename else last
            trace = trace.tb_next
        trace = last
        said = f"{type(e).__name__}: {str(e)[:100]!r} from {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}".encode("ascii", "replace").decode()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds, more = time.perf_counter() - start, resident("VmHWM") - before
    if more > MEMORY:
        return f"took {more >> 20} MB"
    return said if said not in ("answered", "refused") or seconds < SECONDS else f"took {seconds:.1f} s"


def resident(kind="VmRSS"):
    "Bytes that this process holds, after which its peak is counted anew; or that peak, \"VmHWM\"."
    if kind == "VmRSS":
        ctypes.CDLL(None).malloc_trim(0)  # what is free but kept would be given out again, unseen
        Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


def limit_memory(more=MEMORY):
    """What this process has, and so many bytes more.

    What it has it may have given back to its allocator, which gives it out again whatever this limit is: `outcome` looks
    at the peak as well.
    """
    ctypes.CDLL(None).malloc_trim(0)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def judged(calls):
    "(call, what became of it) of each, in forks: one that dies is followed by another, which goes on behind it."
    calls, found = list(calls), []
    while len(found) < len(calls):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            os.chdir(tempfile.mkdtemp())
            sys.stderr = open(os.devnull, "w")
            limit_memory()
            for _, call in calls[len(found):]:
                os.write(write, (json.dumps(outcome(call)) + "\n").encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb", buffering=0) as pipe:
            rest = b""
            while select.select([pipe], [], [], 30)[0] and (part := os.read(pipe.fileno(), 1 << 16)):
                rest += part
                *lines, rest = rest.split(b"\n")
                found += [(calls[len(found) + i][0], json.loads(line)) for i, line in enumerate(lines)]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if len(found) < len(calls):
            found.append((calls[len(found)][0], "hung, or ended the process"))
    return found


def failures(found):
    return [(call, said) for call, said in found if said not in ("answered", "refused")]


def warm_up():
    "Call everything once as it should be, so that what is loaded on first use is there; and it must answer."
    for name, good in goods().items():
        room, _, function = name.rpartition(".")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            public(room)[function](**good())


def report(calls, probes, number, methods=3000):
    "Try so many of each, print what is wrong and the figures; how many were wrong."
    import fuzz_face
    warm_up()
    bad = 0
    for what, tried in (("calls of public functions", wrong_calls(calls, number)), ("probes", wrong_probes(probes, number)),
                        ("runs by a method", fuzz_face.wrong_methods(methods, number))):
        found = judged(tried)
        for call, said in failures(found):
            print(f"  {call}: {said}")
        bad += len(failures(found))
        print(f"{what}: {len(found)}, of which {sum(s == 'answered' for _, s in found)} were answered, {sum(s == 'refused' for _, s in found)} refused, "
              f"{len(failures(found))} neither", flush=True)
    return bad


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--probes", type=int, default=10_000)
    parser.add_argument("--methods", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sys.exit(bool(report(args.calls, args.probes, args.seed, args.methods)))
