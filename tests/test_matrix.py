"""The table of what works with what: a sample of it made anew, and probes' numbers computed in another way.

benchmarks/matrix.py makes the whole of it.
"""
import math
import statistics
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import matrix  # noqa: E402

from grok_nb.display.slides import PANELS  # noqa: E402
from grok_nb.measures.laws import LAWS  # noqa: E402
from grok_nb.measures.probes import MEASURES  # noqa: E402
from grok_nb.measures.robustness import sharpness  # noqa: E402
from grok_nb.methods.registry import METHODS  # noqa: E402
from grok_nb.models.registry import MODELS  # noqa: E402
from grok_nb.tasks.task import stream  # noqa: E402

TABLE = pd.read_csv(matrix.TABLE, keep_default_na=False)
SAMPLE = [("decoder", "x/y"), ("cnn", "parity"), ("lens_all", "rows in another order"), ("lstm", "wrong labels"), ("sequential", "regression"),
          ("mlp, one-hot", "one-hot table"), ("mlp, untied", "sum of 3"), ("transformer, untied", "images")]


@pytest.fixture(scope="module", autouse=True)
def theirs():
    "The modules of somebody else are registered for the while."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    matrix.registered()
    yield
    torch.set_num_threads(before)
    for name in matrix.FOREIGN:
        MODELS.pop(name), MODELS.prints.pop(name)


def test_every_cell_works_or_says_what_it_needs():
    cells = TABLE[list(matrix.TASKS_TRIED)].to_numpy().ravel()
    assert {o.split()[0] for o in cells if o} == {"works", "needs:"}
    forward = TABLE[TABLE["thing"] == "forward"].set_index("model")
    for row in TABLE.itertuples():  # nothing is left out but what the model does not take
        takes = forward.loc[row.model, list(matrix.TASKS_TRIED)] == "works"
        assert row.kind == "model" or ([bool(o) for o in row[4:]] == takes.tolist()) or row.model == "lens_all", row


def test_nothing_is_left_out():
    for kind, things in {"probe": set(MEASURES), "law": set(LAWS), "method": set(METHODS), "method in your loop": set(METHODS),
                         "figure": {f"panel {o}" for o in PANELS}}.items():
        assert things <= set(TABLE.loc[TABLE["kind"] == kind, "thing"]), kind
    assert {name for name, _ in matrix.MODELS_TRIED.values()} >= MODELS.shipped


@pytest.mark.parametrize("model, task", SAMPLE)
def test_the_committed_table_is_what_comes_of_it(model, task):
    found = {tuple(o[:2]): o[4] for o in matrix.cells(models=[model], tasks=[task])}
    rows = TABLE[TABLE["model"] == model].set_index(["kind", "thing"])[task]
    assert found == {key: cell for key, cell in rows.items() if cell}


def test_the_judge_sees_what_is_bad():
    def needs(at=""):
        if not at:
            raise matrix.GrokError("name it: at=")
        return {"a": 1.0}

    def fails():
        raise matrix.GrokError("this Net fails: RuntimeError: mat1 and mat2")

    assert matrix.cell(lambda: {"a": 1.0}) == "works" and matrix.cell(needs, dict(at="x")) == "works with at='x'"
    assert matrix.cell(needs) == "needs: name it: at="
    for bad in (lambda: 1 / 0, fails, lambda: {"a": math.nan}, lambda: {"law/latin": math.inf}, lambda: {"a": {"b": [1, 2], "c": -math.inf}}):
        assert matrix.cell(bad).startswith("FAULT"), bad
    assert matrix.cell(lambda: {"law/latin": math.nan}) == "works"


# --- numbers in another way: plain torch hooks, loops, and matrices written out ---

HAND = {"transformer": ("embed", "resid_post", "resid_post"), "decoder": ("embed", "blocks.1", "block1"), "mlp, tied": ("embed", "acts.1", "act2"),
        "lens_all": ("embed", "mlp", "mlp"), "lstm": ("embed", "lstm", "lstm")}  # where noise goes, the last hidden layer, its feature


def by_hand(name, task="table"):
    "(module whose submodules can be hooked, task, arguments of probes, what runs it: x, noise, how -> (hidden, outputs))."
    net, data = matrix.network(name, task), matrix.config_of(name, task)[1]
    plain, (at, layer, feature) = net.slow() if hasattr(net, "slow") else net, HAND[name]

    def last(out):
        out = out[0] if isinstance(out, tuple) else out
        return out if out.dim() == 2 else out[:, -1] if name != "lstm" else out.flatten(1)

    def run(x, noise=None):
        seen, handles = [], [plain.get_submodule(layer).register_forward_hook(lambda m, a, out: seen.append(last(out)))]
        if noise is not None:
            handles.append(plain.get_submodule(at).register_forward_hook(lambda m, a, out: out + noise))
        with sdpa_kernel(SDPBackend.MATH):
            out = plain(x)
        for handle in handles:
            handle.remove()
        return seen[0], out if out.dim() == 2 else out[:, -1]

    return net, data, matrix.places(name, task), feature, run


def noise_of(name, data, generator, sigma, x):
    length = {"transformer": 3, "decoder": 3}.get(name, 2)
    width = 6 if name == "lstm" else 8
    return torch.empty(len(x), length, width).double().normal_(0, sigma, generator=generator)


def arguments(measure, how):
    takes = matrix.inspect.signature(measure).parameters
    return {k: v for k, v in how.items() if k in takes}


def entropy(Z):
    "Of the Gram matrix of unit rows, by its eigenvalues."
    R = Z / Z.norm(dim=1, keepdim=True)
    share = torch.linalg.eigvalsh(R @ R.T / len(R))
    share = share[share > 1e-14]
    return -(share * share.log()).sum().item()


@pytest.mark.parametrize("name", HAND)
def test_perturbed_entropy(name):
    net, data, how, feature, run = by_hand(name)
    how = how | dict(entropy=[feature], information=[], label_information=[])
    got = MEASURES["information"](net, data, stream(0, "x"), sigma=.3, draws=3, **arguments(MEASURES["information"], how))
    g = stream(0, "x")
    with torch.no_grad():
        clean = entropy(run(data.x_train)[0])
        noisy = [entropy(run(data.x_train, noise_of(name, data, g, .3, data.x_train))[0]) for _ in range(3)]
    assert got[f"pe/{feature}"] == pytest.approx(sum(noisy) / 3, rel=1e-9) and got[f"ed/{feature}"] == pytest.approx(sum(noisy) / 3 - clean, abs=1e-9)


@pytest.mark.parametrize("name", HAND)
def test_robustness(name):
    net, data, how, _, run = by_hand(name)
    x, y = data.x_train, data.y_train
    got = MEASURES["robustness"](net, data, stream(0, "x"), sigma=.3, draws=2, probes=300, **arguments(MEASURES["robustness"], how))
    g, total = stream(0, "x"), 0.
    with torch.no_grad():
        for _ in range(2):
            noise = noise_of(name, data, g, .3, x)
            for i in range(len(x)):  # an example at a time
                total += (run(x[i:i + 1], noise[i:i + 1])[1] - run(x[i:i + 1])[1]).square().sum().item() / len(x) / 2
    assert got["perturbation_error"] == pytest.approx(total, rel=1e-9)

    zero = noise_of(name, data, g, 0., x).requires_grad_()
    out, squares = run(x, zero)[1], 0.
    for c in range(out.shape[1]):  # each class's whole Jacobian
        squares += torch.autograd.grad(out[:, c].sum(), zero, retain_graph=True)[0].square().sum().item() / len(x)
    assert abs(got["input_gradient"] - squares) < 5 * got["input_gradient_se"] and got["input_gradient_se"] < .1 * squares

    weights, trace = list(net.parameters()), 0.
    slopes = torch.autograd.grad(F.cross_entropy(run(x)[1], y), weights, create_graph=True, allow_unused=True, materialize_grads=True)
    for w, slope in zip(weights, slopes, strict=True):  # each weight's own second derivative
        for k, one in enumerate(slope.flatten()):
            if one.requires_grad:
                trace += torch.autograd.grad(one, w, retain_graph=True)[0].flatten()[k].item()
    assert abs(got["sharpness"] - trace) < 5 * got["sharpness_se"]

    def slope_at(step, along):  # the gradient a little further along, times the direction
        with torch.no_grad():
            for w, v in zip(weights, along, strict=True):
                w.add_(v, alpha=step)
        found = torch.autograd.grad(F.cross_entropy(run(x)[1], y), weights, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            for w, v in zip(weights, along, strict=True):
                w.sub_(v, alpha=step)
        return sum((s * v).sum().item() for s, v in zip(found, along, strict=True))

    g, read = stream(1, "x"), {k: v for k, v in how.items() if k == "read"}
    got = sharpness(net, x, y, probes=2, generator=stream(1, "x"), **read).value.item()
    signs = [[torch.randint(0, 2, w.shape, generator=g).double() * 2 - 1 for w in weights] for _ in range(2)]
    right = sum((slope_at(1e-8, v) - slope_at(-1e-8, v)) / 2e-8 for v in signs) / 2  # a longer step meets a kink
    assert got == pytest.approx(right, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", HAND)
def test_spectrum_signals_and_norms(name):
    net, data, how, feature, run = by_hand(name)
    read = {k: v for k, v in how.items() if k == "read"}
    hidden, out = run(data.x_train)
    got = MEASURES["spectrum"](net, data, **arguments(MEASURES["spectrum"], how))
    share = torch.linalg.eigvalsh(hidden.T @ hidden).clamp(min=0).sqrt()
    share = share / share.sum()
    assert got[f"effective_rank/{feature}"] == pytest.approx(math.exp(-torch.xlogy(share, share).sum().item()), rel=1e-6)
    if name == "transformer":
        power = torch.fft.fft(net.W_E[:7], dim=0).abs().square().sum(1)[1:4]
        power = (power / power.sum()).sort().values
        gini = sum(abs(a - b) for a in power for b in power) / (2 * len(power) ** 2 * power.mean())
        assert got["fourier/gini"] == pytest.approx(gini.item(), rel=1e-9)

    got = MEASURES["training_signals"](net, data, **read)
    slopes = torch.autograd.grad(F.cross_entropy(out, data.y_train), list(net.parameters()), allow_unused=True, materialize_grads=True)
    p = out.softmax(1)
    assert got["grad_norm"] == pytest.approx(math.sqrt(sum(s.square().sum().item() for s in slopes)), rel=1e-9)
    assert got["logit_entropy"] == pytest.approx(-(p * p.log()).sum(1).mean().item(), rel=1e-9)

    last = {"transformer": "W_U", "decoder": "W_U", "mlp, tied": "layers.2.weight", "lens_all": "head.weight", "lstm": "head.weight"}[name]
    own = [math.log(row[y]) for row, y in zip(p.tolist(), data.y_train.tolist(), strict=True)]
    got = MEASURES["log_probs"](net, data, **read)
    assert got["log_prob/50"] == pytest.approx(statistics.median(own), rel=1e-9)

    got = MEASURES["norms"](net, data)
    assert got["norm/last"] == pytest.approx(dict(net.named_parameters())[last].norm().item(), rel=1e-9)
    assert got["norm/l1"] == pytest.approx(sum(w.abs().sum().item() for w in net.parameters()), rel=1e-9)


@pytest.mark.parametrize("name", HAND)
@pytest.mark.parametrize("task", ["x/y", "rows in another order", "S5"])
def test_laws_pair_by_pair(name, task):
    net, data, how, _, run = by_hand(name, task)
    read, law = {k: v for k, v in how.items() if k == "read"}, MEASURES["law"]
    answers = run(data.inputs)[1].argmax(1).tolist()
    f = dict(zip(map(tuple, data.pairs.tolist()), answers, strict=True))
    known = dict(zip(map(tuple, data.pairs.tolist()), data.train.tolist(), strict=True))
    pairs = [(a, b) for a, b in f if (b, a) in f]
    holds = [f[a, b] == f[b, a] for a, b in pairs]
    unseen = [same for (a, b), same in zip(pairs, holds, strict=True) if not known[a, b] and not known[b, a]]
    got = law(net, data, only=["commutativity"], **read)
    assert got["law/commutativity"] == pytest.approx(sum(holds) / len(holds), abs=1e-6)
    assert got["law/commutativity/none"] == pytest.approx(sum(unseen) / len(unseen), abs=1e-6)
    if task == "rows in another order":
        g = dict(zip(map(tuple, data.pairs.tolist()), data.table.flatten().tolist(), strict=True))
        moved = [f[g[c, a], b] == g[c, f[a, b]] for a in range(7) for b in range(7) for c in range(1, 7)]
        assert law(net, data, only=["left_translation"], **read)["law/left_translation"] == pytest.approx(sum(moved) / len(moved), abs=1e-6)


@pytest.mark.parametrize("name", HAND)
def test_early_warning(name):
    net, data, how, _, run = by_hand(name)
    got = MEASURES["early_warning"](net, data, stream(0, "x"), draws=2, **{k: v for k, v in how.items() if k in ("layer", "read")})
    Z, y = run(data.x_test)[0], data.y_test.tolist()
    centres = {c: sum(z for z, o in zip(Z, y, strict=True) if o == c) / y.count(c) for c in set(y)}
    within = sum((z - centres[c]).square().sum() for z, c in zip(Z, y, strict=True)) / len(y)
    middle = sum(centres.values()) / len(centres)
    between = sum((o - middle).square().sum() for o in centres.values()) / len(centres)
    assert got["class_ratio@test"] == pytest.approx((within / between).item(), rel=1e-9)


# --- methods on tables that are not square, or whose inputs are one-hot vectors ---

@pytest.mark.parametrize("method", ["abelian", "suppress", "mirrored", "translation"])
def test_methods_of_pairs_do_the_same_on_tokens_and_one_hot_vectors(method):
    from grok_nb.training.loop import Training
    runs = []
    for task in ("table", "one-hot table"):
        config, data = matrix.config_of("mlp, one-hot", task, method=method)
        t = Training([config], tasks=[data])
        for _ in range(3):
            objective, acc, _ = t.forward()
            t.update(objective, acc)
        runs.append(torch.cat([w.detach().flatten() for w in t.params.values()]))
    torch.testing.assert_close(*runs, rtol=1e-9, atol=1e-12)


def test_a_pair_without_a_mirror_image_costs_nothing():
    from grok_nb.training.loop import Training
    config, data = matrix.config_of("transformer", "x/y", method="abelian", method_args=dict(coefficient=1.))
    t = Training([config], tasks=[data])
    objective = t.forward()[0].item()
    with torch.no_grad():
        f = {tuple(p): z for p, z in zip(data.pairs.tolist(), t.models[0](data.inputs), strict=True)}
        loss = F.cross_entropy(t.models[0](data.x_train), data.y_train)
        apart = [(f[a, b] - f[b, a]).square().mean() if (b, a) in f else torch.tensor(0.) for a, b in data.x_train.tolist()]
    assert objective == pytest.approx((loss + sum(apart) / len(apart)).item(), rel=1e-9)


@pytest.mark.parametrize("name, at", [("transformer", "mlp_act"), ("mlp, tied", "acts.0"), ("decoder", "blocks.0.mlp_act")])
def test_noise_of_a_plain_loop_goes_where_it_is_asked_to(name, at):
    from grok_nb.methods.plain_loop import plain_loop
    config, data = matrix.config_of(name, "table")
    net = matrix.build_model(config, data)
    plain = net.slow() if hasattr(net, "slow") else net
    got = plain_loop("fixed_noise", net, at, seed=5, sigma=.5).loss(data.x_train, data.y_train).item()
    g = stream(5, "noise")
    handle = plain.get_submodule(at).register_forward_hook(lambda m, a, out: out + torch.empty_like(out).normal_(0, .5, generator=g))
    right = F.cross_entropy(plain(data.x_train), data.y_train).item()
    handle.remove()
    assert got == pytest.approx(right, rel=1e-9)
