"""Methods by formulas of their papers, written here in plain torch; and the same methods in loops that are not ours."""
import copy
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from test_foreign import CLASSES, KINDS, made, seed
from torch import nn

from grok_nb.errors import GrokError
from grok_nb.methods.gradients import Egalitarian, FixedNorm, Grokfast, GrokfastMA, OrthogonalGradient
from grok_nb.methods.method import Method, joint_sigma
from grok_nb.methods.plain_loop import plain_loop
from grok_nb.methods.registry import METHODS, make_methods
from grok_nb.methods.rivals import L1, GrokAlign, StableMax
from grok_nb.models.losses import LOSSES, example_losses
from grok_nb.tasks.task import stream
from grok_nb.training.config import RunConfig
from grok_nb.training.loop import Training

X = torch.randn(24, 5, generator=seed(1), dtype=torch.float64)
Y = torch.randint(0, 4, (24,), generator=seed(2))


def small():
    "A network in float64, the same at every call."
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4)).double()


def adamw(net):
    return torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)


def trained(method, steps=25, first=False, optimizer=adamw, **args):
    "A small network after some steps of a loop of four lines."
    net = small()
    m, opt = plain_loop(method, net, **args), optimizer(net)
    if first:
        m.weights()
    for _ in range(steps):
        loss = m.loss(X, Y)
        opt.zero_grad()
        loss.backward()
        m.gradients()
        opt.step()
        m.weights()
    return net


def by_formula(loss=F.cross_entropy, gradients=None, weights=None, steps=25, optimizer=adamw, start=1.0):
    "The same in plain torch: `loss` of logits, or of the network too, and functions of the parameters."
    net = small()
    with torch.no_grad():
        for w in net.parameters():
            w.mul_(start)
    opt, params = optimizer(net), list(net.parameters())
    for step in range(steps):
        opt.zero_grad()
        (loss(net) if loss.__name__ == "whole" else loss(net(X), Y)).backward()
        if gradients:
            for w, g in zip(params, gradients(step, params)):
                w.grad = g
        opt.step()
        if weights:
            with torch.no_grad():
                weights(params)
    return net


def assert_alike(net, other, eps=1e-12):
    for a, b in zip(net.parameters(), other.parameters()):
        torch.testing.assert_close(a, b, rtol=eps, atol=eps)


# --- rivals, by their papers' formulas ---


def grokfast_ema(past, alpha, lamb):
    "Lee et al. 2024, algorithm EMA: mu <- alpha mu + (1 - alpha) g, from mu = g; g + lamb mu."
    def change(step, params):
        for i, w in enumerate(params):
            past[i] = alpha * past[i] + (1 - alpha) * w.grad if i in past else w.grad.clone()
        return [w.grad + lamb * past[i] for i, w in enumerate(params)]
    return change


def grokfast_ma(past, window, lamb):
    "Lee et al. 2024, algorithm MA: g + lamb * mean of the last `window` gradients, once there are so many."
    def change(step, params):
        past.append([w.grad.clone() for w in params])
        if len(past) < window:
            return past[-1]
        return [past[-1][i] + lamb * sum(old[i] for old in past[-window:]) / window for i in range(len(params))]
    return change


def across(step, params):
    "Prieto et al. 2025, equation of the orthogonal gradient: g - (w g / w w) w, at the length of g."
    out = []
    for w in params:
        v, g = w.detach().flatten(), w.grad.flatten()
        rest = g - (v @ g) / (v @ v) * v
        out.append((rest * g.norm() / rest.norm()).reshape(w.shape))
    return out


def level(step, params):
    "Saheb Pasand & Dohmatob 2025: (G G')^(-1/2) G of each matrix, the inverse on the range of G alone."
    out = []
    for w in params:
        if w.dim() != 2:
            out.append(w.grad)
            continue
        values, vectors = torch.linalg.eigh(w.grad @ w.grad.T)
        keep = values > values.max() * 1e-14
        out.append(vectors[:, keep] @ torch.diag(values[keep] ** -0.5) @ vectors[:, keep].T @ w.grad)
    return out


def held(length, at_most=False):
    "Liu et al. 2022: all weights times one number, so that their length is what it was."
    def change(params):
        now = math.sqrt(sum(w.square().sum().item() for w in params))
        if not at_most or now > length:
            for w in params:
                w.mul_(length / now)
    return change


def stablemax(z, y):
    "Prieto et al. 2025: s(x) = x + 1 from 0 on, 1 / (1 - x) below it, in the place of exp."
    s = torch.stack([torch.stack([v + 1 if v >= 0 else 1 / (1 - v) for v in row]) for row in z])
    return -torch.log(s[range(len(y)), y] / s.sum(1)).mean()


def plain_l1(strength):
    def whole(net):
        return F.cross_entropy(net(X), Y) + strength * sum(w.abs().sum() for w in net.parameters())
    return whole


def length():
    return math.sqrt(sum(w.square().sum().item() for w in small().parameters()))


RIVALS = {
    "standard": ({}, lambda: by_formula()),
    "grokfast": (dict(momentum=0.9, amplify=2.0), lambda: by_formula(gradients=grokfast_ema({}, 0.9, 2.0))),
    "grokfast_ma": (dict(window=6, amplify=5.0), lambda: by_formula(gradients=grokfast_ma([], 6, 5.0))),
    "orthogonal": ({}, lambda: by_formula(gradients=across)),
    "fixed_norm": (dict(scale=1.3), lambda: by_formula(weights=held(1.3 * length()), start=1.3)),
    "norm_clamp": (dict(scale=1.1), lambda: by_formula(weights=held(1.1 * length(), at_most=True))),
    "stablemax": ({}, lambda: by_formula(stablemax)),
    "label_smoothing": (dict(smoothing=0.2), lambda: by_formula(lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2))),
    "l1": (dict(strength=1e-3), lambda: by_formula(plain_l1(1e-3)))}


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_is_its_papers_formula(name):
    args, formula = RIVALS[name]
    assert_alike(trained(name, first=True, **args), formula())


def test_egalitarian_is_its_papers_formula():
    def sgd(net):
        return torch.optim.SGD(net.parameters(), 1e-2)
    assert_alike(trained("egalitarian", optimizer=sgd), by_formula(gradients=level, optimizer=sgd), 1e-7)
    net = small()
    F.cross_entropy(net(X), Y).backward()
    plain_loop("egalitarian", net).gradients()
    for w, rank in ((net[0].weight, 5), (net[2].weight, 9), (net[4].weight, 3)):  # a softmax moves no sum of logits
        values = torch.linalg.svdvals(w.grad)
        torch.testing.assert_close(values[:rank], torch.ones(rank).double(), rtol=1e-9, atol=1e-9)
        assert (values[rank:] < 1e-9).all()


def test_a_fixed_norm_without_a_call_before_the_first_step_starts_where_the_model_is():
    assert_alike(trained("fixed_norm"), by_formula(weights=held(length())))


def test_grokalign_is_the_norm_of_the_jacobian():
    net, m = small(), plain_loop("grokalign", small(), strength=0.3)
    v = torch.randn(24, 4, generator=seed(0))
    v = (v / v.norm(dim=1, keepdim=True)).double()
    J = torch.stack([torch.autograd.functional.jacobian(lambda x: net(x[None])[0], x, create_graph=True) for x in X])
    right = F.cross_entropy(net(X), Y) + 0.3 * (2 * torch.einsum("nc,nci->ni", v, J).norm(dim=1)).mean()  # sqrt(4) = 2
    got = m.loss(X, Y)
    torch.testing.assert_close(got, right, rtol=1e-6, atol=1e-6)
    right.backward()
    got.backward()
    for a, b in zip(m.model.parameters(), net.parameters()):
        if b.grad is not None and a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)


def test_radial_suppression_is_its_papers_formula():
    net = small()
    h0 = net[0](X)
    h2 = net[2](net[1](h0))
    off = sum(((h.norm(dim=1) - math.sqrt(h.shape[1])) ** 2 / h.shape[1]).mean() for h in (h0, h2))
    got = plain_loop("radial", net, hidden=("0", "2"), strength=0.05).loss(X, Y)
    torch.testing.assert_close(got, F.cross_entropy(net(X), Y) + 0.05 * off)
    with pytest.raises(GrokError, match="Name them: hidden="):
        plain_loop("radial", net)


def test_input_gradient_is_the_norm_of_the_jacobian():
    net = small()
    J = torch.stack([torch.autograd.functional.jacobian(lambda x: net(x[None])[0], x) for x in X])
    right = J.square().sum((1, 2)).mean().item()
    m, plain = plain_loop("input_gradient", net, strength=1.0, eps=1e-3), F.cross_entropy(net(X), Y).item()
    draws = torch.tensor([m.loss(X, Y).item() - plain for _ in range(300)])
    assert abs(draws.mean() - right) < 4 * draws.std() / 300 ** 0.5 + 1e-3 * right


def test_every_method_of_the_table_is_covered_here():
    others = {"noise", "our_noise", "fixed_noise", "adversarial", "dropout", "abelian", "suppress", "translation", "mirrored",
              "egalitarian", "grokalign", "radial", "input_gradient"}  # by tests of their own, here and in the notebooks
    assert set(METHODS) <= set(RIVALS) | others


# --- seeds side by side ---


@pytest.mark.parametrize("make", [Egalitarian, lambda: FixedNorm(2.0), OrthogonalGradient, Grokfast, lambda: GrokfastMA(3.0, 2)])
def test_seeds_side_by_side_are_seeds_alone(make):
    g, together, alone = seed(), make(), [make() for _ in range(3)]
    stacked = {k: torch.randn(3, *shape, generator=g).double() for k, shape in dict(W=(4, 3), b=(4,), scale=()).items()}
    single = [{k: w[i:i + 1].clone() for k, w in stacked.items()} for i in range(3)]
    for _ in range(4):
        for k, w in stacked.items():
            w.grad = torch.randn(w.shape, generator=g).double()
            for i in range(3):
                single[i][k].grad = w.grad[i:i + 1].clone()
        for method, params in zip([together, *alone], [stacked, *single]):
            method.gradients(params)
            for w in params.values():
                w.sub_(0.1 * w.grad)
            method.weights(params)
        for i in range(3):
            for k, w in stacked.items():
                torch.testing.assert_close(w[i:i + 1], single[i][k], rtol=1e-9, atol=1e-9)
    for v in together.state().values():
        if isinstance(v, torch.Tensor):
            assert len(v) == 3


# --- plain loops on modules of others ---


AT = {"cnn": "input", "lstm": "input", "decoder": "embed"}


def noisy_forward(net, name, x, noise):
    "The module's own forward pass in its mode, with noise by a hook or on the input."
    if name != "decoder":
        return net(x + noise)
    handle = net.embed.register_forward_hook(lambda module, args, out: out + noise)
    try:
        return net(x)
    finally:
        handle.remove()


@pytest.mark.parametrize("method", ["noise", "fixed_noise"])
@pytest.mark.parametrize("name", KINDS)
def test_noise_on_a_module_in_train_mode_by_hand(name, method):
    (net, task), (twin, _) = made(KINDS[name]), made(KINDS[name])
    args = dict(lambda1=0.5, lambda2=0.1) if method == "noise" else dict(sigma=0.3)
    m, draws, acc = plain_loop(method, net, at=AT[name], seed=4, **args), stream(4, "noise"), 0.0
    shape = task.x_train.shape if name != "decoder" else (*task.x_train.shape, 8)
    for step in range(3):
        torch.manual_seed(step)
        got = m.loss(task.x_train, task.y_train)
        after = torch.get_rng_state()
        sigma = max(0.5 * (1 - acc), 0.1) if method == "noise" else 0.3
        torch.manual_seed(step)
        noise = torch.empty(shape, dtype=torch.float64).normal_(0, sigma, generator=draws)
        logits = noisy_forward(twin, name, task.x_train, noise)
        assert torch.equal(after, torch.get_rng_state())  # what the module draws itself, and nothing more
        torch.testing.assert_close(got, F.cross_entropy(logits, task.y_train), rtol=1e-7, atol=1e-12)  # of fused attention
        acc = (logits.argmax(1) == task.y_train).double().mean().item()
        assert m.train_acc.item() == pytest.approx(acc)
    assert all(part.training for part in net.modules())
    for a, b in zip(net.buffers(), twin.buffers()):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", KINDS)
def test_adversarial_noise_on_a_module_by_hand(name):
    (net, task), (twin, _) = made(KINDS[name]), made(KINDS[name])
    m = plain_loop("adversarial", net, at=AT[name], sigma=0.2, seed=4)
    torch.manual_seed(3)
    got = m.loss(task.x_train, task.y_train)
    shape = task.x_train.shape if name != "decoder" else (*task.x_train.shape, 8)
    start = (torch.empty(shape, dtype=torch.float64).normal_(0, 0.2, generator=stream(4, "noise")) * 1e-2).requires_grad_()
    trial = copy.deepcopy(twin)
    torch.manual_seed(3)
    slope, = torch.autograd.grad(F.cross_entropy(noisy_forward(trial, name, task.x_train, start), task.y_train), start)
    rows = slope.flatten(1)
    along = (rows / rows.norm(dim=1, keepdim=True) * 0.2 * rows.shape[1] ** 0.5).reshape(shape)
    torch.manual_seed(3)
    right = F.cross_entropy(noisy_forward(twin, name, task.x_train, along), task.y_train)
    torch.testing.assert_close(got, right, rtol=1e-8, atol=1e-10)
    for a, b in zip(net.buffers(), twin.buffers()):
        torch.testing.assert_close(a, b)


HIDDEN = {"cnn": ("3", "7"), "lstm": ("lstm",), "decoder": ("mlp.1",)}


@pytest.mark.parametrize("name", KINDS)
def test_dropout_on_hidden_layers_by_hand(name):
    (net, task), (twin, _) = made(KINDS[name]), made(KINDS[name])
    net.eval()
    twin.eval()
    m, draws = plain_loop("dropout", net, hidden=HIDDEN[name], drop=0.4, seed=4), stream(4, "noise")

    def mask(module, args, out):
        h = out[0] if isinstance(out, tuple) else out
        h = h * (torch.empty(h.shape, dtype=torch.float64).bernoulli_(0.6, generator=draws) / 0.6)
        return (h, *out[1:]) if isinstance(out, tuple) else h

    handles = [twin.get_submodule(layer).register_forward_hook(mask) for layer in HIDDEN[name]]
    for _ in range(2):
        torch.testing.assert_close(m.loss(task.x_train, task.y_train), F.cross_entropy(twin(task.x_train), task.y_train))
    for handle in handles:
        handle.remove()
    assert not any(part.training for part in net.modules())
    torch.testing.assert_close(net(task.x_train), twin(task.x_train))  # afterwards nothing is dropped


@pytest.mark.parametrize("name", KINDS)
def test_losses_in_place_of_cross_entropy_on_a_module(name):
    net, task = made(KINDS[name])
    net.eval()
    z, y = net(task.x_train), task.y_train
    right = {"stablemax": stablemax(z, y), "label_smoothing": F.cross_entropy(z, y, label_smoothing=0.1)}
    for method, value in right.items():
        torch.testing.assert_close(plain_loop(method, net).loss(task.x_train, y), value)
    one_hot = F.one_hot(y, CLASSES).double()
    torch.testing.assert_close(plain_loop("standard", net, loss="mse").loss(task.x_train, y), F.mse_loss(z, one_hot))
    target = torch.randn(len(y), CLASSES, generator=seed()).double()
    torch.testing.assert_close(plain_loop("standard", net, loss="mse").loss(task.x_train, target), F.mse_loss(z, target))


@pytest.mark.parametrize("name", KINDS)
def test_grokalign_on_a_module(name):
    net, task = made(KINDS[name], **(dict(kernel=False) if name == "decoder" else {}))
    if name == "lstm":
        net.eval()  # of dropout in an LSTM
    m = plain_loop("grokalign", net, at=AT[name], strength=0.2)
    torch.manual_seed(3)
    m.loss(task.x_train, task.y_train).backward()
    first = [w.grad.clone() for w in net.parameters()]
    assert all(g.isfinite().all() for g in first)
    net.zero_grad()
    torch.manual_seed(3)
    F.cross_entropy(net(task.x_train), task.y_train).backward()
    assert any((a - w.grad).abs().max() > 1e-4 for a, w in zip(first, net.parameters()))


class Pairs(nn.Module):
    "A table of pairs, with BatchNorm and dropout."

    def __init__(self, p=5):
        super().__init__()
        self.embed, self.mix = nn.Embedding(p, 6), nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, p))

    def forward(self, x):
        return self.mix(self.embed(x).flatten(1))


def pairs():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Pairs().double()
    table = (torch.arange(5)[:, None] + torch.arange(5)) % 5
    every = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    order = torch.randperm(25, generator=seed(3))
    x = every[order[:12]]
    return net, SimpleNamespace(name="sums", n_classes=5, square=True, pairs=every, inputs=every, x_train=x, y_train=table[x[:, 0], x[:, 1]], table=table)


def test_mirror_images_in_a_plain_loop_by_hand():
    net, task = pairs()
    net.eval()
    x, y = task.x_train, task.y_train
    z, mirrored = net(x), net(x.flip(1))
    apart = (z - mirrored).square().mean()
    torch.testing.assert_close(plain_loop("abelian", net, coefficient=7.0).loss(x, y), F.cross_entropy(z, y) + 7 * apart)
    torch.testing.assert_close(plain_loop("mirrored", net).loss(x, y), F.cross_entropy(z, y) + F.cross_entropy(mirrored, y))
    with pytest.raises(GrokError, match="wants to know the task"):
        plain_loop("translation", net)
    g = torch.randint(1, 5, (12,), generator=seed(0))
    moved = net(torch.stack([(x[:, 0] + g) % 5, x[:, 1]], 1))
    shifted = torch.stack([row.roll(-int(by)) for row, by in zip(moved, g)])
    right = F.cross_entropy(z, y) + 3 * (shifted - z).square().mean()
    torch.testing.assert_close(plain_loop("translation", net, task=task, coefficient=3.0).loss(x, y), right)


def test_mini_batches_and_batches_changed_in_place():
    net, task = pairs()
    net.eval()
    m = plain_loop("abelian", net)
    for rows in (slice(0, 5), slice(5, 12), slice(0, 12)):
        x, y = task.x_train[rows].clone(), task.y_train[rows]
        right = F.cross_entropy(net(x), y) + 100 * (net(x) - net(x.flip(1))).square().mean()
        torch.testing.assert_close(m.loss(x, y), right)
    x.copy_(x.flip(1))  # the same tensor with other content
    torch.testing.assert_close(m.loss(x, y) - F.cross_entropy(net(x), y), 100 * (net(x) - net(x.flip(1))).square().mean())


@pytest.mark.parametrize("method", ["noise+grokfast", "abelian+fixed_norm", "dropout+orthogonal", "adversarial", "radial+l1", "grokalign"])
def test_a_plain_loop_goes_on_where_it_stopped(method):
    def start():
        net, task = pairs()
        m = plain_loop(method, net, at="embed", hidden="mix.2", seed=2)
        return net, task, m, torch.optim.AdamW(net.parameters(), 1e-2)

    def step(net, task, m, opt):
        loss = m.loss(task.x_train, task.y_train)
        opt.zero_grad()
        loss.backward()
        m.gradients()
        opt.step()
        m.weights()

    whole = start()
    for _ in range(3):
        step(*whole)
    kept = copy.deepcopy((whole[0].state_dict(), whole[2].state(), whole[3].state_dict()))
    for _ in range(3):
        step(*whole)
    again = start()
    again[0].load_state_dict(kept[0])
    again[2].load_state(kept[1])
    again[3].load_state_dict(kept[2])
    for _ in range(3):
        step(*again)
    for a, b in zip(whole[0].state_dict().values(), again[0].state_dict().values()):
        assert torch.equal(a, b)


# --- gradients and weights alone ---


def prieto(w, g):
    "Prieto et al. 2025: the gradient's part along the whole weight tensor removed, its norm kept."
    v, flat = w.detach().reshape(-1), g.reshape(-1)
    rest = flat - (v @ flat) / (v @ v + 1e-30) * v
    return (rest * (flat.norm() / (rest.norm() + 1e-30))).reshape(g.shape)


def backward(net, task):
    net.zero_grad()
    F.cross_entropy(net(task.x_train), task.y_train).backward()


@pytest.mark.parametrize("kind", KINDS.values())
def test_orthogonal_gradient_in_a_plain_loop(kind):
    net, task = made(kind)
    net.eval()
    loop, sgd = plain_loop("orthogonal", net), torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3):
        backward(net, task)
        right = [prieto(w, w.grad) for w in net.parameters()]
        loop.gradients()
        for w, g in zip(net.parameters(), right):
            torch.testing.assert_close(w.grad, g, rtol=1e-9, atol=1e-12)
        sgd.step()


def test_grokfast_in_a_plain_loop_goes_on_where_it_stopped():
    for method, right in ((Grokfast(2.0, 0.5), lambda past: past[-1] + 2 * ema(past)),
                          (GrokfastMA(4.0, 2), lambda past: past[-1] + (2 * (past[-1] + past[-2]) if len(past) > 1 else 0))):
        net, task = made(KINDS["cnn"])
        loop, past, last = plain_loop(method, net), [], net[8].weight
        for step in range(4):
            if step == 2:
                kept = loop.state()
                loop = plain_loop(fresh(method), net)
                loop.load_state(kept)
            net.zero_grad()
            (net.eval()(task.x_train) * (step + 1)).logsumexp(1).sum().backward()
            past.append(last.grad.clone())
            loop.gradients()
            torch.testing.assert_close(last.grad, right(past))


def fresh(method):
    return Grokfast(2.0, 0.5) if isinstance(method, Grokfast) else GrokfastMA(4.0, 2)


def ema(past):
    average = past[0]
    for g in past[1:]:
        average = 0.5 * average + 0.5 * g
    return average


def test_the_state_of_a_plain_loop_is_a_copy():
    net, task = made(KINDS["cnn"])
    loop = plain_loop(Grokfast(), net)
    backward(net, task)
    loop.gradients()
    kept = copy.deepcopy(loop.state())
    shown = loop.state()
    backward(net, task)
    loop.gradients()
    for a, b in zip(*(o["methods"][0]["average"].values() for o in (kept, shown))):
        assert torch.equal(a, b)
    other = plain_loop(Grokfast(), net)
    other.load_state(kept)
    backward(net, task)
    other.gradients()
    assert all(torch.equal(a, b) for a, b in zip(kept["methods"][0]["average"].values(), shown["methods"][0]["average"].values()))


def test_penalty_of_the_weights_in_a_plain_loop():
    net, task = made(KINDS["cnn"])
    net.scale = nn.Parameter(torch.tensor(-2.0).double())  # a number has a seed axis as well
    loop = plain_loop(L1(0.5), net)
    loop.penalty().backward()
    assert loop.penalty().item() == pytest.approx(0.5 * sum(w.abs().sum().item() for w in net.parameters()))
    for w in net.parameters():
        assert torch.equal(w.grad, 0.5 * w.detach().sign())


# --- the package's own training ---


OWN = ["standard", "noise", "fixed_noise+grokfast", "our_noise+abelian", "adversarial", "dropout+orthogonal", "stablemax+l1", "mirrored",
       "translation", "suppress", "label_smoothing+grokfast_ma", "input_gradient", "egalitarian"]


@pytest.mark.parametrize("method,dtype", [*((o, "float64") for o in OWN), *((o, "float32") for o in OWN if o != "egalitarian")])
def test_a_plain_loop_gives_the_numbers_of_the_packages_training(method, dtype):
    """Egalitarian in float64 alone: it makes the smallest singular values, rounding and all, as large as the others.

    Where a gradient is zero it leaves rounding of 1e-17, which AdamW divides by its usual `eps` of 1e-8 and makes a step of:
    a larger one leaves what both loops compute, and not their rounding.
    """
    eps, own = {"float32": 2e-3, "float64": 1e-9}[dtype], 1e-4 if method == "egalitarian" else 1e-8
    config = RunConfig(p=7, train_frac=0.6, d_model=8, n_heads=2, d_mlp=8, method=method, lr=1e-2, seed=3, dtype=dtype,
                       optimizer_args=dict(weight_decay=0.5, eps=own))
    t = Training([config])
    net, task = copy.deepcopy(t.models[0]), t.tasks[0]
    m = plain_loop(method, net, seed=3, task=task)
    opt = torch.optim.AdamW(net.parameters(), lr=config.lr, betas=config.betas, eps=own, weight_decay=config.weight_decay)
    for _ in range(6):
        objective, acc, _ = t.forward()
        loss = m.loss(task.x_train, task.y_train)
        torch.testing.assert_close(loss, objective[0], rtol=eps, atol=eps)
        assert m.train_acc.item() == pytest.approx(acc[0].item())
        t.update(objective, acc)
        opt.zero_grad()
        loss.backward()
        m.gradients()
        for name, w in net.named_parameters():
            torch.testing.assert_close(w.grad, t.params[name].grad[0], rtol=eps, atol=eps)
        opt.step()
        m.weights()
    for name, w in net.named_parameters():
        torch.testing.assert_close(w, t.params[name][0], rtol=10 * eps, atol=eps)


# --- what cannot work says so ---


def test_a_method_where_it_cannot_work_says_so():
    (cnn, images), (decoder, tokens) = made(KINDS["cnn"]), made(KINDS["decoder"])
    for method in ("abelian", "mirrored", "suppress"):
        with pytest.raises(GrokError, match="mirror images are of pairs of whole numbers"):
            plain_loop(method, cnn).loss(images.x_train, images.y_train)
    with pytest.raises(GrokError, match="no square table"):
        plain_loop("translation", cnn, task=images)
    for method in ("noise", "adversarial", "input_gradient", "grokalign"):
        with pytest.raises(GrokError, match="at='embed'"):
            plain_loop(method, decoder).loss(tokens.x_train, tokens.y_train)
    with pytest.raises(GrokError, match="no noise can be added"):
        plain_loop("noise", decoder).noise(tokens.x_train)
    for method in ("dropout", "radial"):
        with pytest.raises(GrokError, match="hidden="):
            plain_loop(method, cnn)
    with pytest.raises(GrokError, match="must be 'all'"):
        plain_loop("noise", cnn, positions="ab").loss(images.x_train, images.y_train)
    with pytest.raises(GrokError, match="both put noise in"):
        plain_loop("noise+adversarial", cnn).loss(images.x_train, images.y_train)
    whole, tokens = made(KINDS["decoder"], whole=True)
    with pytest.raises(GrokError, match="read="):
        plain_loop("standard", whole).loss(tokens.x_train, tokens.y_train)
    plain_loop("standard", whole, read=lambda out: out[:, -1]).loss(tokens.x_train, tokens.y_train)
    lstm, rows = made(KINDS["lstm"], batch_first=False)
    with pytest.raises(GrokError, match="a row an input"):
        plain_loop("adversarial", lstm, at="lstm").loss(rows.x_train, rows.y_train)
    with pytest.raises(GrokError, match="needs classes|takes classes|made for cross-entropy"):
        plain_loop("stablemax", cnn, loss="mse").loss(images.x_train, torch.zeros(12, CLASSES).double())


def test_a_step_without_a_hook_that_the_method_needs_is_refused():
    net, task = made(KINDS["cnn"])
    F.cross_entropy(net(task.x_train), task.y_train).backward()
    for method, lacks in (("noise", "sigma"), ("abelian", "inputs, penalty"), ("stablemax", "loss"), ("l1", "penalty")):
        with pytest.raises(GrokError, match=f"acts by {lacks}"):
            plain_loop(method, net).gradients()
    with pytest.raises(GrokError, match="acts by drop"):
        plain_loop("dropout", net, hidden="3").gradients()
    m = plain_loop("fixed_norm", net)
    m.gradients()
    with pytest.raises(GrokError, match="acts by weights"):
        m.gradients()
    with pytest.raises(GrokError, match="backward"):
        net.zero_grad()
        plain_loop("orthogonal", net).gradients()
    with pytest.raises(GrokError, match="is not known"):
        plain_loop("orthogonl", net)


@pytest.mark.parametrize("method", [Grokfast(), GrokfastMA(), OrthogonalGradient(), Egalitarian(), FixedNorm()])
def test_plain_parameters_are_not_taken_for_stacked_ones(method):
    net, task = made(KINDS["cnn"])
    F.cross_entropy(net(task.x_train), task.y_train).backward()
    with pytest.raises(GrokError, match="plain_loop"):
        method.gradients(dict(net.named_parameters()))
    with pytest.raises(GrokError, match="plain_loop"):
        L1().penalty(None, dict(net.named_parameters()), 0)


@pytest.mark.parametrize("method", [Grokfast(), GrokfastMA(window=1), OrthogonalGradient(), Egalitarian()])
def test_a_frozen_weight_is_left_alone(method):
    free, frozen = torch.ones(1, 2, 3, requires_grad=True), torch.ones(1, 2, 3)
    free.grad = torch.arange(6.0).reshape(1, 2, 3)
    method.gradients({"frozen": frozen, "free": free})
    assert frozen.grad is None and not torch.equal(free.grad, torch.arange(6.0).reshape(1, 2, 3))


def test_a_fixed_norm_leaves_frozen_weights_of_a_module_alone():
    net, task = made(KINDS["cnn"])
    net[1].weight.requires_grad_(False)
    before = net[1].weight.clone()
    plain_loop("fixed_norm", net, scale=3.0).weights()
    assert torch.equal(before, net[1].weight)


def test_two_noises_are_refused_and_a_place_alone_gets_zeros():
    acc = torch.zeros(2)
    assert joint_sigma(make_methods("standard+grokfast"), acc) is None
    assert torch.equal(joint_sigma([GrokAlign()], acc), acc)
    for name in ("noise+fixed_noise", "input_gradient+noise"):
        with pytest.raises(GrokError, match="both put noise in"):
            joint_sigma(make_methods(name), acc)


# --- losses ---


def test_softmax_collapse_is_to_be_seen_and_exact_is_the_default():
    z, y = torch.tensor([[30.0, 0, 0]]), torch.tensor([0])
    for loss, args, dead in (("cross_entropy", {}, False), ("naive_cross_entropy", {}, True),
                             ("naive_cross_entropy", dict(dtype="float64"), False), ("naive_cross_entropy", dict(dtype="float16"), True)):
        free = z.clone().requires_grad_()
        value, right = example_losses(free, y, loss, **args)
        value.sum().backward()
        assert (value.item() == 0, free.grad[0, 0].item() == 0, right.item()) == (dead, dead, True), (loss, args)
    assert next(iter(LOSSES)) == "cross_entropy" and "stablemax" not in LOSSES
    with pytest.raises(GrokError, match="float8"):
        example_losses(z, y, "naive_cross_entropy", dtype="float8")
    for loss in ("cross_entropy", "naive_cross_entropy"):
        with pytest.raises(GrokError, match='loss="mse"'):
            example_losses(z, z, loss)


def test_a_method_tells_what_it_fills_in():
    class Own(Method):
        def weights(self, params):
            pass
    assert StableMax.second_order is False and GrokAlign.second_order
    assert "weights" in vars(Own) and Own().state() == {}
