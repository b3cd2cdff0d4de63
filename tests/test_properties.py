"Whatever comes in, a public function works or raises GrokError; it never hangs, fails in torch, or leaves files."
import gzip
import inspect
import math
import os
import random
import struct
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from grok_nb.analysis.events import held_after_fit, late_rise, plateau, learning_times
from grok_nb.analysis.judge import judge, median_interval
from grok_nb.measures.entropy import gram_entropy, matrix_entropy, mutual_information
from grok_nb.files import read_csv
from grok_nb.errors import GrokError
from grok_nb.tasks.groups import check_table, direct_product, identities, laws, operation
from grok_nb.measures.laws import law_shares
from grok_nb.models.mlps import MLP
from grok_nb.methods.registry import METHODS
from grok_nb.measures.radius import certified_radius, nearest_distance
from grok_nb.measures.features import gaussian
from grok_nb.measures.robustness import input_gradient, perturbation_error, sharpness
from grok_nb.measures.spectra import cka, effective_rank, fourier_power, gini, key_frequencies
from grok_nb.runs.table import read_store
from grok_nb.tasks.digits import mnist, read_idx
from grok_nb.tasks.splits import split_pairs
from grok_nb.models.registry import MODELS
from grok_nb.tasks.task import TASKS, table_task, task_names
from grok_nb.training.config import RunConfig
from grok_nb.training.history import first_held, milestones
from grok_nb.training.fit import fit
from grok_nb.training.run import load_run
from grok_nb.analysis.forecast import at_cut, caught_early, dmd_residual, norm_delay
from grok_nb.analysis.survival import concordance
from grok_nb.analysis.transitions import cross_lag, lag_table, lags, transition
from grok_nb.analysis.rise import fit_curve, logistic_curve


def some(n):
    "Settings of a test with n examples."
    return settings(max_examples=n, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.explicit, Phase.generate])


def works_or_refuses(function, *args, **kwargs):
    "What a function gives, or None if it refused."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)
    except GrokError as e:
        assert len(str(e)) > 10
        return None


# Configs: small and right, with up to three fields that may be anything

ODD = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.sampled_from([2**31 - 1, 2**31, 10**12, 10**30]), st.floats(), st.text(max_size=5),
                st.lists(st.integers(0, 2), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(0, 2), max_size=2))
FEW = ODD.filter(lambda o: not isinstance(o, int) or o < 10)  # a thousand million draws are no error, only long
PROBES = ("norms", "information", "robustness", "training_signals", "log_probs", "law", "spectrum", "early_warning", "bound")
ARGS = dict(lambda1=st.floats(0, 2), lambda2=st.floats(0, 2), sigma=st.floats(0, 2), positions=st.sampled_from(["ab", "all"]),
            coefficient=st.floats(0, 100), start=st.integers(0, 3), stop=st.integers(0, 3), margin=st.floats(0, 2), strength=st.floats(0, 1e-3),
            smoothing=st.floats(0, .99), amplify=st.floats(0, 5), momentum=st.floats(0, .99), window=st.integers(1, 5))
FIELDS = dict(
    task=st.sampled_from([*task_names(), "add:3*symmetric:3", "latin:5", "add:2*add:2"]), p=st.integers(2, 11), train_frac=st.floats(.1, .9),
    split=st.sampled_from(["random", "mirror_closed", "mirror_open"]), n_train=st.integers(1, 30), seed=st.integers(0, 2**31 - 1),
    d_model=st.sampled_from([4, 8, 12]), n_heads=st.sampled_from([1, 2, 4]), d_mlp=st.integers(1, 20), width=st.integers(1, 12), init_scale=st.floats(1e-3, 1e3),
    loss=st.sampled_from(["cross_entropy", "mse"]), lr=st.floats(1e-6, 1e6), weight_decay=st.floats(0, 1e3),
    betas=st.tuples(st.floats(0, .999), st.floats(0, .999)), batch_size=st.integers(0, 40),
    method=st.lists(st.sampled_from(sorted(METHODS)), min_size=1, max_size=2).map("+".join),
    log_every=st.integers(1, 3), target=st.floats(.01, 1), hold=st.integers(0, 5),
    stop_factor=st.one_of(st.just(0), st.floats(1, 3)), frames=st.integers(0, 5), probes=st.lists(st.sampled_from(PROBES).map(lambda o: {"name": o, "every": 6}), max_size=2),
    dtype=st.sampled_from(["float32", "float64"]))


BASE = dict(p=7, train_frac=.5, d_model=8, d_mlp=8, width=8, n_train=20, frames=0, method="standard")


def fitting(fields):
    "The settings that a run of this task has: those of another are left out, as a user would."
    takes = {*TASKS.arguments(fields["task"]), *MODELS.arguments("transformer" if "split" in TASKS.arguments(fields["task"]) else "mlp")}
    loose = {o for name in TASKS for o in TASKS.arguments(name)} | {o for name in MODELS for o in MODELS.arguments(name)}
    return {k: v for k, v in fields.items() if k not in loose or k in takes}


@st.composite
def configs(draw):
    "Fields of a config that trains a few steps, or of one that cannot be."
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=8))
    drawn = {k: draw(FIELDS[k]) for k in names}
    fields = fitting(dict(BASE, **{"task": "add", **drawn}))
    takes = {k for o in fields["method"].split("+") for k in inspect.signature(METHODS[o]).parameters}
    fields["method_args"] = draw(st.fixed_dictionaries({}, optional={k: v for k, v in ARGS.items() if k in takes}))
    odd = draw(st.sampled_from(["none", "none", "field", "argument"]))
    if odd == "field":
        fields[draw(st.sampled_from(sorted(FIELDS)))] = draw(ODD)
    if odd == "argument":
        fields["method_args"][draw(st.sampled_from(sorted(ARGS)))] = draw(ODD)
    return fields | dict(steps=4)


def fuzz_configs(n):
    "(configs that trained, configs that were refused) of n; anything else fails."
    counts = [0, 0]

    @some(n)
    @given(configs())
    def try_one(fields):
        before = time.process_time()
        run = works_or_refuses(lambda: fit(RunConfig(**fields), quiet=True))
        assert time.process_time() - before < 10
        counts[run is None] += 1
        assert run is None or run.status == "done" or "diverged at step" in run.status

    here = os.getcwd()
    with tempfile.TemporaryDirectory() as empty:
        try:
            os.chdir(empty)
            try_one()
            assert not os.listdir(empty)
        finally:
            os.chdir(here)
    return tuple(counts)


def test_configs():
    trained, refused = fuzz_configs(150)
    assert trained + refused >= 150 and min(trained, refused) >= 30, (trained, refused)


# Tables

TABLES = st.one_of(
    st.integers(0, 6).flatmap(lambda n: st.lists(st.lists(st.integers(-1, max(n, 1)), min_size=n, max_size=n), min_size=n, max_size=n)),
    st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(st.integers(0, n - 1), min_size=n, max_size=n), min_size=n, max_size=n)), ODD,
    st.lists(ODD, max_size=3), st.sampled_from([np.zeros((2, 2)), np.zeros((2, 3), int), torch.zeros(0, 0, dtype=torch.long), torch.ones(2, 2, 2).long()]))


@some(100)
@given(TABLES, TABLES, st.one_of(st.floats(), st.just(.5)), st.one_of(ODD, st.integers(0, 9)), st.sampled_from(["random", "mirror_closed", "mirror_open", "x"]))
def test_tables(a, b, frac, seed, split):
    good = works_or_refuses(check_table, a) is not None
    assert (works_or_refuses(laws, a) is not None) == good == (works_or_refuses(identities, a) is not None)
    works_or_refuses(direct_product, a, b)
    works_or_refuses(split_pairs, seed, frac, seed, split)
    works_or_refuses(table_task, a, frac, seed, split)
    works_or_refuses(law_shares, [0, 1, 1, 0], a)


@some(60)
@given(st.one_of(ODD, st.sampled_from(["add", "add:3", "add:3*add:2", "symmetric:9", "divide:12", "add:x", "*", "dihedral:0", "latin:4"])), ODD, ODD)
def test_operations(name, p, seed):
    works_or_refuses(operation, name, p, seed)


# Histories

CURVES = st.one_of(st.lists(st.one_of(st.floats(), st.floats(0, 1), st.just(math.nan)), max_size=40), ODD)


@some(100)
@given(CURVES, CURVES, ODD, ODD)
def test_histories(steps, values, threshold, hold):
    works_or_refuses(first_held, steps, values, threshold, hold)
    if isinstance(values, list):
        works_or_refuses(milestones, pd.DataFrame({"step": np.arange(len(values)), "train/acc": values, "test/acc": values}), hold)
    works_or_refuses(milestones, pd.DataFrame({"step": [0]}))


@st.composite
def histories(draw):
    "Tables with the columns of a history, whose rows may be few, unsorted, twice there, or without numbers."
    n = draw(st.integers(0, 60))
    steps = np.array(draw(st.lists(st.integers(0, 5000), min_size=n, max_size=n)), int)
    order = draw(st.sampled_from(["right", "right", "twice", "any"]))
    steps = np.unique(steps) if order == "right" else np.sort(steps) if order == "twice" else steps
    curve = st.one_of(st.floats(0, 1), st.sampled_from([0., 1., math.nan]))
    names = ["train/acc", "test/acc", "train/loss", "norm/l2"]
    if draw(st.booleans()):
        names += ["test/acc_mirrored", "test/acc_unmirrored", "law/commutativity/train", "law/commutativity/train_unmirrored"]
    columns = {k: draw(st.lists(curve, min_size=len(steps), max_size=len(steps))) for k in names}
    if draw(st.booleans()):
        columns["test/acc"] = 1/(1 + np.exp(-(np.arange(len(steps)) - 30)/2.))
    return pd.DataFrame({"step": steps} | {k: np.asarray(v, float) for k, v in columns.items()})


@some(100)
@given(CURVES, CURVES, ODD, ODD)
def test_transitions_of_any_curve(steps, values, odd, other):
    found = works_or_refuses(transition, steps, values)
    if found is not None and found.midpoint == found.midpoint:
        inside = [a for a, b in zip(steps, values) if math.isfinite(a) and math.isfinite(b)]
        assert min(inside) <= found.midpoint <= max(inside)
    for function in (median_interval, dmd_residual, lambda v: cross_lag(v, steps), lambda v: concordance(v, v, steps),
                     lambda v: caught_early(v, v, steps), lambda v: fit_curve(logistic_curve, steps, v), lambda v: judge("", v, above=odd, below=other),
                     lambda v: transition(v, values, after=odd), lambda v: norm_delay(odd, other, 1e-3, odd)):
        works_or_refuses(function, values)


@some(60)
@given(histories(), st.sampled_from(["train/acc", "test/acc", "norm/l2", "nothing"]), st.one_of(ODD, st.floats(0, 1)))
def test_claims_of_any_history(history, measure, level):
    for function in (learning_times, late_rise, plateau, lambda h: held_after_fit(h, measure, level), lambda h: lag_table(lags([h, h], [measure])),
                     lambda h: at_cut(h, RunConfig(), [measure], level)):
        works_or_refuses(function, history)


# Feature matrices


@st.composite
def matrices(draw, rows=None):
    "Tensors of any shape and type, among them zero, constant, huge, tiny and not finite ones."
    shape = (rows, 5) if rows else draw(st.one_of(st.tuples(st.integers(0, 8), st.integers(0, 6)), st.lists(st.integers(0, 4), max_size=3)))
    g = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    Z = torch.randn(tuple(shape), generator=g) * draw(st.sampled_from([0., 1., 1e-30, 1e30, 1e-40]))
    if Z.numel() and draw(st.integers(0, 3)) == 0:
        Z.view(-1)[draw(st.integers(0, Z.numel() - 1))] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    return Z.to(draw(st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool]))) if Z.isfinite().all() else Z


@some(150)
@given(matrices(), matrices(), st.one_of(ODD, st.floats(.1, 4)), st.sampled_from(["auto", "exact", "estimate", "x"]), st.one_of(ODD, st.integers(2, 4)))
def test_features(Z1, Z2, alpha, way, probes):
    works_or_refuses(matrix_entropy, Z1, alpha)
    works_or_refuses(gram_entropy, Z1, alpha)
    works_or_refuses(mutual_information, Z1, Z2, alpha, way, probes)
    for function in (fourier_power, gini, key_frequencies, effective_rank):
        works_or_refuses(function, Z1)
    works_or_refuses(cka, Z1, Z2)


@some(60)
@given(st.integers(1, 6).flatmap(lambda n: st.tuples(matrices(n), st.lists(st.integers(0, 2), min_size=n, max_size=n))),
       matrices(), st.one_of(ODD, st.floats(0, 1)), st.one_of(FEW, st.integers(1, 3)), st.one_of(ODD, st.just("mse")))
def test_robustness(points, other, sigma, draws, loss):
    x, y, model = points[0].float(), torch.tensor(points[1]), MLP(5, 3, width=4, generator=torch.Generator().manual_seed(0))
    works_or_refuses(perturbation_error, model, x, sigma, draws)
    works_or_refuses(input_gradient, model, x, draws)
    works_or_refuses(sharpness, model, x, y, loss, draws)
    works_or_refuses(gaussian, sigma)
    works_or_refuses(certified_radius, sigma, draws)
    works_or_refuses(nearest_distance, x, y, other, y)


# Files


@some(80)
@given(st.binary(max_size=60), st.integers(0, 5), st.sampled_from([0x803, 0x801, 0, 2**31]), st.integers(1, 3), st.booleans(), st.integers(0, 2000))
def test_idx_files(junk, count, magic, ndim, zipped, cut):
    with tempfile.TemporaryDirectory() as folder:
        for data in (junk, struct.pack(">4I", magic, count, 28, 28) + bytes(784 * count), struct.pack(">2I", magic, count) + bytes(count)):
            path = Path(folder) / ("file.gz" if zipped else "file")
            path.write_bytes(gzip.compress(data)[:cut] if zipped else data[:cut])
            works_or_refuses(read_idx, path, ndim)
        works_or_refuses(mnist, folder)


@pytest.fixture(scope="module")
def good_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    fit(RunConfig(p=5, train_frac=.5, d_model=8, d_mlp=8, steps=4, log_every=2, frames=2, stop_factor=0), folder, quiet=True)
    return {o.name: o.read_bytes() for o in folder.iterdir()}


def test_run_folders(good_run):
    @some(60)
    @given(st.dictionaries(st.sampled_from([*sorted(good_run), "checkpoint.prev", ".x.tmp"]), st.one_of(st.binary(max_size=40), st.integers(0, 10**6)), max_size=3))
    def try_one(changes):
        with tempfile.TemporaryDirectory() as store:
            folder = Path(store) / "0123456789ab"
            folder.mkdir(parents=True)
            for name, data in (dict.fromkeys(changes, b"") | good_run).items():
                change = changes.get(name, data)
                if isinstance(change, int):  # a byte of it is another
                    rng, change = random.Random(change), bytearray(data)
                    if change:
                        change[rng.randrange(len(change))] = rng.randrange(256)
                (folder / name).write_bytes(change)
            works_or_refuses(load_run, folder)
            works_or_refuses(read_csv, folder / "history.csv.gz")
            works_or_refuses(read_store, folder.parent)

    try_one()
