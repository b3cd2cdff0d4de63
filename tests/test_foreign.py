"""Modules and loops that are not ours: a measure says the truth about them or raises GrokError, and changes nothing.

What is right is computed here in plain torch and float64, never by the function that is tested.
"""
import copy
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from grok_nb.errors import GrokError
from grok_nb.measures import information, laws, probes, radius, robustness
from grok_nb.measures.features import gaussian, hooks, observe
from grok_nb.measures.probes import Probe, probe_spec
from grok_nb.methods.penalties import Abelian
from grok_nb.methods.rivals import StableMax
from grok_nb.models.losses import example_losses
from grok_nb.models.transformer_fast import FastTransformer
from grok_nb.models.mlps import MLP
from grok_nb.tasks.task import Task, table_task
from grok_nb.training.config import RunConfig
from grok_nb.training.loop import Training

N, LENGTH, CLASSES = 12, 5, 3


class CNN(nn.Sequential):
    "With batch norm and dropout."

    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, CLASSES))


class Reader(nn.Module):
    "An LSTM that answers at its last step; its layer gives (n, length, d), or (length, n, d)."

    def __init__(self, batch_first=True):
        super().__init__()
        self.lstm = nn.LSTM(6, 7, batch_first=batch_first, num_layers=2, dropout=0.3)
        self.head = nn.Linear(7, CLASSES)

    def forward(self, x):
        x = x.unflatten(1, (-1, 6))
        if self.lstm.batch_first:
            return self.head(self.lstm(x)[0][:, -1])
        return self.head(self.lstm(x.transpose(0, 1))[0][-1])


class Decoder(nn.Module):
    "One block with layer norm, dropout and torch's attention, or attention spelled out; answers at the last position."

    def __init__(self, kernel=True, whole=False, last_first=False):
        super().__init__()
        self.kernel, self.whole, self.last_first = kernel, whole, last_first
        self.embed, self.norm1, self.norm2 = nn.Embedding(7, 8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.out, self.drop = nn.Linear(8, 24), nn.Linear(8, 8), nn.Dropout(0.2)
        self.mlp, self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, CLASSES)

    def attend(self, x):
        q, k, v = (o.unflatten(-1, (2, 4)).transpose(1, 2) for o in self.qkv(x).chunk(3, -1))
        if self.kernel:
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            z = (q @ k.mT / 2).masked_fill(hidden, -math.inf).softmax(-1) @ v
        return self.out(z.transpose(1, 2).flatten(2))

    def forward(self, tokens):
        x = self.embed(tokens)
        x = x + self.drop(self.attend(self.norm1(x)))
        x = x + self.mlp(self.norm2(x))
        out = self.head(x)
        if self.last_first:
            return out.transpose(0, 1)
        return out if self.whole else out[:, -1]


def made(kind, **how):
    "A module in float64 and train mode, and its task; the same at every call."
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = kind(**how).double()
        if kind is CNN:
            with torch.no_grad():
                net[2].running_mean.normal_()
                net[2].running_var.uniform_(0.5, 2)
            net[2].weight.requires_grad_(True)
        x = torch.randn(2 * N, 36 if kind is CNN else 6 * LENGTH).double()
        if kind is Decoder:
            x = torch.randint(0, 7, (2 * N, LENGTH))
        y = torch.arange(2 * N) % CLASSES
    tokens = 7 if kind is Decoder else None
    return net, Task("theirs", x[:N], y[:N], x[N:], y[N:], n_classes=CLASSES, n_tokens=tokens)


KINDS = {"cnn": CNN, "lstm": Reader, "decoder": Decoder}
AT = {"cnn": "input", "lstm": "input", "decoder": "embed"}
LAYERS = {"cnn": ("3", "7"), "lstm": ("lstm", "output"), "decoder": ("embed", "mlp")}


def seed(number=0):
    return torch.Generator().manual_seed(number)


def picture(net):
    "All that a measure must leave alone."
    return dict(
        modes=[m.training for m in net.modules()],
        tensors={k: v.clone() for k, v in net.state_dict().items()},
        buffers=[id(b) for b in net.buffers()],
        grads=[None if w.grad is None else w.grad.clone() for w in net.parameters()],
        needs=[w.requires_grad for w in net.parameters()],
        hooks=[(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in net.modules()],
        random=torch.get_rng_state())


def assert_same(before, after):
    for k in ("modes", "buffers", "needs", "hooks"):
        assert before[k] == after[k], k
    for k, v in before["tensors"].items():
        assert torch.equal(v, after["tensors"][k]), k
    for a, b in zip(before["grads"], after["grads"]):
        assert (a is None) == (b is None) and (a is None or torch.equal(a, b))
    assert torch.equal(before["random"], after["random"])


def calls(name):
    "Every measure of a module and every probe that applies, by name: function (net, task, generator) -> a value."
    at, (first, last) = AT[name], LAYERS[name]
    layers = dict(entropy=[last], information=[[first, last]], label_information=["output"])
    found = {
        "observe": lambda net, t, g: observe(net, t.x_train, last)[last].sum().item(),
        "observe, noise": lambda net, t, g: observe(net, t.x_train, "output", gaussian(0.1, g or seed()), at=at)["output"].sum().item(),
        "perturbed_information": lambda net, t, g: information.perturbed_information(
            net, t.x_train, t.y_train, 0.1, generator=g, at=at, **layers),
        "perturbation_error": lambda net, t, g: robustness.perturbation_error(net, t.x_train, 0.1, generator=g, at=at),
        "input_gradient": lambda net, t, g: robustness.input_gradient(net, t.x_train, generator=g, at=at).value.item(),
        "gauss_newton_trace": lambda net, t, g: robustness.gauss_newton_trace(net, t.x_train, generator=g).value.item(),
        "sharpness": lambda net, t, g: robustness.sharpness(net, t.x_train, t.y_train, generator=g).value.item(),
        "weight_norm": lambda net, t, g: robustness.weight_norm(net),
        "information": lambda net, t, g: probes.information(net, t, g, at=at, **layers),
        "robustness": lambda net, t, g: probes.robustness(net, t, g, at=at),
        "norms": lambda net, t, g: probes.norms(net, t, g),
        "training_signals": lambda net, t, g: probes.training_signals(net, t, g),
        "log_probs": lambda net, t, g: probes.log_probs(net, t, g),
        "early_warning": lambda net, t, g: probes.early_warning(net, t, g, layer=last),
        "spectrum": lambda net, t, g: probes.spectrum(net, t, g, layer=last)}
    specs = {"information": dict(at=at, **layers), "robustness": dict(at=at), "norms": {}, "training_signals": {}, "log_probs": {},
             "early_warning": dict(layer=last), "spectrum": dict(layer=last)}
    for probe, args in specs.items():
        found[f"Probe({probe})"] = lambda net, t, g, probe=probe, args=args: Probe(dict(name=probe, every=1, **args))(net, t)
    return found


NAMES = list(calls("cnn"))


@pytest.mark.parametrize("which", ["a generator", "none"])
@pytest.mark.parametrize("call", NAMES)
@pytest.mark.parametrize("name", KINDS)
def test_a_measure_changes_nothing_and_sees_eval_mode(name, call, which):
    net, task = made(KINDS[name])
    next(m for m in net.modules() if isinstance(m, (nn.Linear, nn.LSTM))).eval()  # one part has a mode of its own
    F.cross_entropy(net(task.x_train), task.y_train).backward()
    before, f = picture(net), calls(name)[call]
    first = f(net, task, seed() if which == "a generator" else None)
    assert_same(before, picture(net))
    assert first == f(net, task, seed() if which == "a generator" else None)  # no dropout is drawn
    net.eval()
    assert first == f(net, task, seed() if which == "a generator" else None)
    values = first.values() if isinstance(first, dict) else first if isinstance(first, tuple) else [first]
    assert all(math.isfinite(v) for v in values)


def test_hooks_put_the_modes_back_also_after_an_error():
    net, task = made(CNN)
    net[2].eval()
    before = picture(net)
    with hooks(net, {"3": torch.relu}, {"1": torch.relu}):
        assert not any(m.training for m in net.modules())
        net(task.x_train)
    assert_same(before, picture(net))
    with pytest.raises(RuntimeError, match="on purpose"):
        with hooks(net, {"3": torch.relu}, {"1": torch.relu}):
            raise RuntimeError("on purpose")
    assert_same(before, picture(net))


def test_a_reader_does_not_replace_what_it_reads():
    net, task = made(CNN)
    right = net.eval()(task.x_train)
    with hooks(net, {"3": torch.zeros_like}, {}):
        assert torch.equal(net(task.x_train), right)


def test_modes_of_a_measure_that_fails():
    net, task = made(CNN)
    before = picture(net)
    with pytest.raises(GrokError):
        robustness.perturbation_error(net, task.x_train, 0.1, read=lambda out: out.sum())
    with pytest.raises(GrokError, match="labels from 9 to 11"):
        robustness.sharpness(net, task.x_train, task.y_train + 9)
    with pytest.raises(GrokError, match="this CNN, given inputs of shape .12, 7., fails") as failed:
        robustness.sharpness(net, task.x_train[:, :7], task.y_train)
    assert isinstance(failed.value.__cause__, RuntimeError)  # torch's own error, with its traceback
    assert_same(before, picture(net))


def test_the_slow_twin_draws_nothing():
    before, ours = torch.get_rng_state(), FastTransformer(7, d_model=8, n_heads=2, d_mlp=8, generator=seed())
    twin = ours.slow()
    assert torch.equal(before, torch.get_rng_state())
    pairs = torch.cartesian_prod(torch.arange(7), torch.arange(7))
    torch.testing.assert_close(twin(pairs), ours(pairs))
    assert all(v is dict(ours.named_parameters())[k] for k, v in twin.named_parameters())


# --- rows ---


def by_hand(net, x):
    "Outputs of a module in eval mode, as plain torch gives them."
    twin = copy.deepcopy(net).eval()
    return twin(x)


def test_a_sequence_first_layer_is_not_taken_for_rows():
    net, task = made(Reader, batch_first=False)
    with pytest.raises(GrokError, match=r"'lstm' has shape \(5, 12, 7\).*12 inputs.*read="):
        observe(net, task.x_train, "lstm")
    twin = copy.deepcopy(net).eval()
    states = twin.lstm(task.x_train.unflatten(1, (-1, 6)).transpose(0, 1))[0]
    for read, right in ((lambda out: out[-1], states[-1]), ("last_first", states[-1]),
                        (lambda out: out.transpose(0, 1).flatten(1), states.transpose(0, 1).flatten(1))):
        torch.testing.assert_close(observe(net, task.x_train, "lstm", read=read)["lstm"], right)
    batch, _ = made(Reader)
    states = copy.deepcopy(batch).eval().lstm(task.x_train.unflatten(1, (-1, 6)))[0]
    torch.testing.assert_close(observe(batch, task.x_train, "lstm", read="last")["lstm"], states[:, -1])
    both = observe(net, task.x_train, ("lstm", "output"), read="last_first")  # a word serves for what is a matrix too
    torch.testing.assert_close(both["output"], by_hand(net, task.x_train))


def test_as_many_inputs_as_steps():
    net, task = made(Reader, batch_first=False)
    with pytest.raises(GrokError, match="read="):
        observe(net, task.x_train[:LENGTH], "lstm")
    with pytest.raises(GrokError, match="read="):
        observe(net, task.x_train[:4], "lstm", read=lambda out: out[0, :, 0])
    batch, _ = made(Reader)
    assert observe(batch, task.x_train[:LENGTH], "lstm")["lstm"].shape == (LENGTH, LENGTH * 7)


@pytest.mark.parametrize("call", [
    lambda net, t: robustness.perturbation_error(net, t.x_train, 0.1),
    lambda net, t: robustness.input_gradient(net, t.x_train),
    lambda net, t: observe(net, t.x_train, "output", gaussian(0.1)),
    lambda net, t: Probe("robustness")(net, t),
    lambda net, t: information.perturbed_information(net, t.x_train, entropy=("mlp",), information=(), label_information=())])
def test_tokens_have_no_noise(call):
    net, task = made(Decoder)
    with pytest.raises(GrokError, match="at='embed'"):
        call(net, task)


def entropy(Z):
    "Von Neumann entropy of the Gram matrix of rows of length one over n, in nats."
    Z = Z / Z.norm(dim=1, keepdim=True)
    values = torch.linalg.eigvalsh(Z @ Z.T / len(Z)).clamp(min=1e-300)
    return -(values * values.log()).sum().item()


def disturbed(net, name, x, noise):
    "Features of a layer by hooks of its own, with noise on the inputs or on the decoder's embedding."
    twin, seen = copy.deepcopy(net).eval(), {}
    if name == "decoder":
        twin.embed.register_forward_hook(lambda module, args, out: out + noise)
    else:
        x = x + noise
    layer = {"cnn": "7", "lstm": "lstm", "decoder": "mlp"}[name]
    twin.get_submodule(layer).register_forward_hook(lambda module, args, out: seen.update(z=out))
    out = twin(x)
    z = seen["z"] if isinstance(seen["z"], torch.Tensor) else seen["z"][0]
    return out, z if z.dim() == 2 else z[:, -1]


@pytest.mark.parametrize("name", KINDS)
def test_perturbed_entropy_and_error_by_hand(name):
    net, task = made(KINDS[name])
    x, layer = task.x_train, {"cnn": "7", "lstm": "lstm", "decoder": "mlp"}[name]
    shape = (N, LENGTH, 8) if name == "decoder" else x.shape
    g = seed(3)
    draws = [torch.empty(shape, dtype=torch.float64).normal_(0, 0.3, generator=g) for _ in range(2)]
    (clean, z0), *noisy = [disturbed(net, name, x, noise) for noise in (torch.zeros(shape).double(), *draws)]
    got = Probe(dict(name="information", every=1, sigma=0.3, entropy=[layer], information=[], label_information=[],
                     at=AT[name], read="last"))
    got = got.measure(net, task, seed(3), **got.args)
    right = sum(entropy(z) for _, z in noisy) / 2
    assert got[f"pe/{layer}"] == pytest.approx(right, abs=1e-9)
    assert got[f"ed/{layer}"] == pytest.approx(right - entropy(z0), abs=1e-9)
    value, _ = robustness.perturbation_error(net, x, 0.3, 2, seed(3), at=AT[name])
    right = sum((out - clean).square().sum(1).mean().item() for out, _ in noisy) / 2
    assert value == pytest.approx(right, rel=1e-10)


@pytest.mark.parametrize("name", KINDS)
def test_input_gradient_by_hand(name):
    net, task = made(KINDS[name])
    twin, right = copy.deepcopy(net).eval(), 0.0
    for one in task.x_train:
        def f(flat):
            if name != "decoder":
                return twin(flat[None])[0]
            handle = twin.embed.register_forward_hook(lambda module, args, out: flat[None])
            try:
                return twin(one[None])[0]
            finally:
                handle.remove()

        start = twin.embed(one).detach() if name == "decoder" else one
        right += torch.autograd.functional.jacobian(f, start).square().sum().item() / N
    got = robustness.input_gradient(net, task.x_train, 2000, seed(), at=AT[name])
    assert abs(got.value.item() - right) < 4 * got.se.item() and got.se.item() < 0.1 * right


@pytest.mark.parametrize("name", KINDS)
def test_sharpness_by_hand(name):
    net, task = made(KINDS[name])
    twin = copy.deepcopy(net).eval()
    if name == "decoder":
        twin.kernel = False
    F.cross_entropy(twin(task.x_train), task.y_train).backward()
    weights, right = list(twin.parameters()), 0.0
    slopes = torch.autograd.grad(F.cross_entropy(twin(task.x_train), task.y_train), weights, create_graph=True)
    for slope, w in zip(slopes, weights):
        for i, one in enumerate(slope.flatten()):
            right += torch.autograd.grad(one, w, retain_graph=True)[0].flatten()[i].item()
    got = robustness.sharpness(net, task.x_train, task.y_train, probes=400, generator=seed())
    assert abs(got.value.item() - right) < 4 * got.se.item() and got.se.item() < 0.3 * abs(right)


def test_at_and_read_pass_through_the_probes():
    net, task = made(Decoder, whole=True)
    pooled, _ = made(Decoder)
    args = dict(at="embed", read="last")
    one = Probe(dict(name="robustness", every=1, **args))(net, task)
    assert one == pytest.approx(Probe(dict(name="robustness", every=1, at="embed"))(pooled, task), rel=1e-9)
    turned, _ = made(Decoder, last_first=True)
    args["read"] = "last_first"
    assert one == pytest.approx(Probe(dict(name="robustness", every=1, **args))(turned, task), rel=1e-9)
    for name in ("training_signals", "early_warning"):
        layer = dict(layer="mlp") if name == "early_warning" else {}
        one, other = (Probe(dict(name=name, every=1, read="last", **layer))(m, task) for m in (net, pooled))
        assert one == pytest.approx(other, rel=1e-9)
    with pytest.raises(GrokError, match="each column would be a class"):
        Probe("training_signals")(net, task)
    with pytest.raises(GrokError, match="read 'lst' is not known"):
        Probe(dict(name="spectrum", layer="mlp", read="lst"))(net, task)
    own = FastTransformer(7, d_model=8, n_heads=2, d_mlp=8, generator=seed())
    with pytest.raises(GrokError, match="its embeddings"):
        robustness.perturbation_error(own, task.x_train[:, :2], 0.1, at="W_E")


# --- names ---


def test_the_output_is_what_a_module_returns():
    ours = FastTransformer(7, d_model=8, n_heads=2, d_mlp=8, generator=seed()).double()
    pairs = torch.cartesian_prod(torch.arange(7), torch.arange(7))
    fast, slow = (robustness.gauss_newton_trace(m, pairs, generator=seed(1)).value.item() for m in (ours, ours.slow()))
    assert fast == pytest.approx(slow, rel=1e-9)


def test_a_layer_of_theirs_is_not_one_of_ours_by_its_name():
    net = nn.Sequential()
    net.add_module("fc1", nn.Linear(36, 8))
    net.add_module("act1", nn.ReLU())
    net.add_module("logits", nn.Linear(8, CLASSES))
    _, task = made(CNN)
    with pytest.raises(GrokError, match="layer=.*fc1, act1, logits"):
        probes.spectrum(net.double(), task)
    with pytest.raises(GrokError, match="entropy=.*fc1, act1, logits"):
        probes.information(net, task)


def test_norms_of_a_cnn():
    net, task = made(CNN)
    got = probes.norms(net, task)
    assert got["norm/first"] == pytest.approx(net[1].weight.square().sum().sqrt().item())
    assert got["norm/last"] == pytest.approx(net[8].weight.square().sum().sqrt().item())
    with pytest.raises(GrokError, match="no weight of two dimensions"):
        probes.norms(nn.BatchNorm1d(3), task)


def test_frozen_and_unused_weights():
    net, task = made(CNN)
    net[1].weight.requires_grad_(False)
    whole, other = probes.training_signals(made(CNN)[0], task)["grad_norm"], probes.training_signals(net, task)["grad_norm"]
    net.never = nn.Linear(2, 2)
    net.forward = lambda x: nn.Sequential(*list(net)[:9])(x)
    assert other < whole and probes.training_signals(net, task)["grad_norm"] == pytest.approx(other)
    assert math.isfinite(robustness.sharpness(net, task.x_train, task.y_train).value)
    for w in net.parameters():
        w.requires_grad_(False)
    with pytest.raises(GrokError, match="requires_grad=True"):
        robustness.gauss_newton_trace(net, task.x_train)


# --- the bound ---


class Skips(nn.Module):
    "A first layer on the whole input, and a way around it."

    def __init__(self):
        super().__init__()
        self.first, self.past, self.last = nn.Linear(36, 8), nn.Linear(36, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.last(self.first(x).relu() + self.past(x))


def test_the_bound_wants_a_full_first_layer():
    net, task = made(CNN)
    for other in (net, Skips().double(), nn.Sequential(nn.Unflatten(1, (6, 6)), nn.Linear(6, 2), nn.Flatten()).double()):
        with pytest.raises(GrokError, match="no Linear layer"):
            probes.bound(other, task)
        with pytest.raises(GrokError, match="weight="):
            radius.lemma_sides(other, task.x_train)
    layers = nn.Linear(36, 8), nn.Linear(8, CLASSES)
    dense = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), nn.Dropout(0.5), layers[1]).double()
    own = MLP(36, CLASSES, depth=1, width=8).double()
    own.load_state_dict({f"layers.{i}.{k}": v for i, o in enumerate(layers) for k, v in o.state_dict().items()})
    assert probes.bound(dense, task, seed()) == pytest.approx(probes.bound(own, task, seed()), rel=1e-9)


# --- bugs that were found on the way ---


def test_mirrored_pairs_in_mini_batches():
    config = RunConfig(p=7, train_frac=0.6, d_model=8, n_heads=2, d_mlp=8, method="mirrored", batch_size=10)
    training = Training([config])
    training.streams["batches"] = [seed(5)]
    order = torch.randperm(training.x.shape[1], generator=seed(5))[:10]
    pairs, labels = training.x[0, order], training.y[0, order]
    objective, _, _ = training.forward()
    logits = training.models[0](torch.cat([pairs, pairs.flip(1)]))
    right = F.cross_entropy(logits[:10], labels) + F.cross_entropy(logits[10:], labels)
    torch.testing.assert_close(objective[0], right)


def test_stop_is_a_step_or_none():
    for bad in ("", [], False, "5", -1):
        with pytest.raises(GrokError, match="stop"):
            Abelian(stop=bad)
    assert Abelian(stop=0).stop == 0 and Abelian().stop is None


def test_a_name_that_is_no_string():
    for bad in ({"name": []}, {"name": {}}, {"name": ["norms"], "every": 3}):
        with pytest.raises(GrokError, match="known are"):
            probe_spec(bad)
    with pytest.raises(TypeError):
        probe_spec("norms", known=())


def test_a_loss_that_is_not_known():
    with pytest.raises(GrokError, match="loss 'hinge' is not known"):
        example_losses(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), "hinge")
    net, task = made(CNN)
    with pytest.raises(GrokError, match="hinge"):
        probes.training_signals(net, task, loss="hinge")


def test_stablemax_says_what_the_history_shows():
    assert "cross-entropy" in StableMax.__doc__ and "train/loss" in StableMax.__doc__


# --- spectrum and early warning ---


@pytest.mark.parametrize("name", KINDS)
def test_spectrum_and_early_warning_by_hand(name):
    net, task = made(KINDS[name])
    layer = {"cnn": "7", "lstm": "lstm", "decoder": "mlp"}[name]
    for probe in (probes.spectrum, probes.early_warning):
        with pytest.raises(GrokError, match=f"layer=.*{layer}"):
            probe(net, task)
    zero = torch.zeros((N, LENGTH, 8) if name == "decoder" else task.x_train.shape).double()
    s = torch.linalg.svdvals(disturbed(net, name, task.x_train, zero)[1])
    share = s / s.sum()
    got = probes.spectrum(net, task, layer=layer, read="last")
    assert got == {f"effective_rank/{layer}": pytest.approx(math.exp(-(share * share.log()).sum().item()), rel=1e-9)}

    Z, y = disturbed(net, name, task.x_test, zero)[1], task.y_test
    centres = torch.stack([Z[y == c].mean(0) for c in range(CLASSES)])
    ratio = (Z - centres[y]).square().sum(1).mean() / (centres - centres.mean(0)).square().sum(1).mean()
    got = probes.early_warning(net, task, seed(), layer=layer, read="last")
    assert got["class_ratio@test"] == pytest.approx(ratio.item(), rel=1e-9)
    assert ("dropout_variance" in got) == (name != "lstm")  # an LSTM's own dropout is no layer
    named = probes.early_warning(net, task, seed(), layer=layer, read="last", at=layer, drop=0.5)
    assert 0 <= named["dropout_variance"] <= 0.25

    halves, ends, sizes = torch.randperm(N, generator=seed()).chunk(2), [], []
    for order in (halves, halves[::-1]):
        twin = copy.deepcopy(net).eval()
        for i, rows in enumerate(order):
            twin.zero_grad()
            F.cross_entropy(twin(task.x_train[rows]), task.y_train[rows]).backward()
            slope = torch.cat([w.grad.flatten() for w in twin.parameters()])
            sizes += [slope.norm()] * (i == 0)
            with torch.no_grad():
                for w in twin.parameters():
                    w -= 1e-5 * w.grad
        ends.append(torch.cat([w.detach().flatten() for w in twin.parameters()]))
    right = (ends[0] - ends[1]).norm() / 1e-10 / (sizes[0] * sizes[1])  # over the lengths of the two steps
    assert got["commutator_defect"] == pytest.approx(right.item(), rel=1e-3)  # steps of 1e-5, which are not yet 0


def test_own_dropout_layers_drop_at_their_own_rate():
    task = SimpleNamespace(x_train=torch.eye(4).double(), y_train=torch.arange(4), x_test=torch.eye(4).double(), y_test=torch.arange(4) % 2,
                           table=None)
    net = nn.Sequential(nn.Dropout(0.5), nn.Identity()).double()
    net.w = nn.Parameter(torch.ones(1).double())
    net.forward = lambda x: nn.Sequential.forward(net[:2], x) * net.w
    got = probes.early_warning(net, task, seed(), layer="1", draws=2000)
    # a row is right if its one unit stays, and by chance, as the first class, if not
    assert got["dropout_variance"] == pytest.approx(3 * 0.25 / 16, rel=0.15)


# --- the math kernel ---


def test_sharpness_of_fused_attention():
    net, task = made(Decoder)
    spelled, _ = made(Decoder, kernel=False)
    for loss in ("cross_entropy", "mse"):
        one, two = (robustness.sharpness(m, task.x_train, task.y_train, loss, generator=seed()).value.item() for m in (net, spelled))
        assert one == pytest.approx(two, rel=1e-10)
    single = copy.deepcopy(net).float()
    assert robustness.sharpness(single, task.x_train, task.y_train, generator=seed()).value.item() == pytest.approx(
        robustness.sharpness(net, task.x_train, task.y_train, generator=seed()).value.item(), rel=1e-2)


# --- a model in the manner of TransformerLens: its own embedding, hook points, heads in a dimension, all positions ---


class HookPoint(nn.Module):
    def forward(self, x):
        return x


class Embed(nn.Module):
    def __init__(self, n, d):
        super().__init__()
        self.W_E = nn.Parameter(torch.randn(n, d))

    def forward(self, tokens):
        return self.W_E[tokens]


class Block(nn.Module):
    def __init__(self, d=8, heads=2):
        super().__init__()
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.randn(heads, d, d // heads) / d**0.5) for _ in range(3))
        self.W_O = nn.Parameter(torch.randn(heads, d // heads, d) / d**0.5)
        self.W_in, self.W_out = nn.Parameter(torch.randn(d, 16) / d**0.5), nn.Parameter(torch.randn(16, d) / 4)
        self.ln, self.hook_pattern, self.hook_post, self.hook_resid_post = nn.LayerNorm(d), HookPoint(), HookPoint(), HookPoint()

    def forward(self, x):
        h = self.ln(x)
        q, k, v = (torch.einsum("npd,hde->nhpe", h, W) for W in (self.W_Q, self.W_K, self.W_V))
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        pattern = self.hook_pattern((q @ k.mT / 2).masked_fill(hidden, -math.inf).softmax(-1))
        x = x + torch.einsum("nhpe,hed->npd", pattern @ v, self.W_O)
        return self.hook_resid_post(x + self.hook_post((x @ self.W_in).relu()) @ self.W_out)


class Hooked(nn.Module):
    "Logits (n, position, vocabulary), as `HookedTransformer` gives them."

    def __init__(self, vocabulary=7):
        super().__init__()
        self.embed, self.hook_embed = Embed(vocabulary + 1, 8), HookPoint()
        self.blocks, self.W_U = nn.ModuleList([Block(), Block()]), nn.Parameter(torch.randn(8, vocabulary) / 8**0.5)

    def forward(self, tokens, return_type="logits"):
        x = self.hook_embed(self.embed(torch.nn.functional.pad(tokens, (0, 1), value=7)))
        for block in self.blocks:
            x = block(x)
        return x @ self.W_U


def hooked():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Hooked().double(), table_task([[(a + b) % 7 for b in range(7)] for a in range(7)], 0.5)


LAST = "blocks.1.hook_resid_post"
NEEDS = {  # probe -> (what it is told, what it says if it is not told)
    "information": (dict(at="hook_embed", read="last", entropy=[LAST], information=[["hook_embed", LAST]], label_information=["output"]), "name the layers"),
    "robustness": (dict(at="hook_embed", read="last"), "(?s)at='input' is where int64 flows.*at='embed'"), "norms": ({}, None),
    "training_signals": (dict(read="last"), "read="), "log_probs": (dict(read="last"), "read="), "law": (dict(read="last"), "read="),
    "spectrum": (dict(layer=LAST, read="last"), "layer="), "early_warning": (dict(layer=LAST, read="last", at="blocks.0.hook_post"), "layer="),
    "bound": (None, "discrete inputs")}


@pytest.mark.parametrize("name", NEEDS)
def test_every_probe_on_a_model_with_hook_points(name):
    assert set(NEEDS) == set(probes.MEASURES)
    (net, task), (told, says) = hooked(), NEEDS[name]
    before = picture(net)
    if says:
        with pytest.raises(GrokError, match=says):
            Probe(name)(net, task)
    if told is not None:
        got = Probe({"name": name, **told})(net, task, seed=1)
        assert repr(got) == repr(Probe({"name": name, **told})(net, task, seed=1))
        assert all(math.isfinite(v) for k, v in got.items() if not k.startswith("law/"))  # of a law there may be no statement
    assert_same(before, picture(net))


def test_numbers_of_a_model_with_hook_points():
    net, task = hooked()
    Z = observe(net, task.x_train, LAST, read="last")[LAST]
    torch.testing.assert_close(Z @ net.W_U, net(task.x_train)[:, -1])
    got = Probe(dict(name="information", at="hook_embed", read="last", sigma=0.0, entropy=[LAST], information=[], label_information=[]))(net, task)
    assert got[f"pe/{LAST}"] == pytest.approx(entropy(Z.detach()), rel=1e-9) and got[f"ed/{LAST}"] == pytest.approx(0, abs=1e-9)
    assert Probe(dict(name="norms"))(net, task)["norm/first"] == pytest.approx(net.W_U.norm().item())  # its own come before its parts'


def test_laws_of_one_hot_and_token_inputs_alike():
    class Table(nn.Module):
        "Answers by heart, all but those of one row."

        def forward(self, x):
            a, b = (x.unflatten(1, (2, 7)).argmax(2) if x.is_floating_point() else x).unbind(1)
            return F.one_hot((a + b + (a == 3)) % 7, 7).double()

    square = [[(a + b) % 7 for b in range(7)] for a in range(7)]
    tokens, one_hot = (Probe("law")(Table(), table_task(square, 0.5, encoding=encoding)) for encoding in ("tokens", "one_hot"))
    assert repr(tokens) == repr(one_hot) and tokens["law/commutativity"] == pytest.approx(1 - 12 / 49)
    wide = table_task([[0, 1], [1, 2], [2, 0]], 0.5, n_tokens=3)
    for call in (lambda: laws.law_shares(wide.labels, wide, only=["latin"]), lambda: laws.law_shares(wide.labels, wide.table),
                 lambda: laws.logit_distances(torch.zeros(6, 3), wide)):
        with pytest.raises(GrokError, match="need.? a square table"):
            call()


def test_probes_of_a_regression_say_what_they_need():
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    x, y = torch.randn(12, 5, generator=seed()).double(), torch.randn(12, 2, generator=seed()).double()
    task = Task("teacher", x[:8], y[:8], x[8:], y[8:], n_classes=2)
    with pytest.raises(GrokError, match="has no classes"):
        Probe(dict(name="early_warning", layer="1"))(net, task)
    with pytest.raises(GrokError, match="mse"):
        Probe("training_signals")(net, task)
    got = Probe(dict(name="training_signals", loss="mse"))(net, task)
    slopes = torch.autograd.grad((net(task.x_train) - task.y_train).square().mean(), list(net.parameters()))
    assert got == {"grad_norm": pytest.approx(torch.cat([s.flatten() for s in slopes]).norm().item())}
    exact = robustness.sharpness(net, task.x_train, task.y_train, "mse", probes=4000, generator=seed())
    H = torch.func.hessian(lambda w: (torch.func.functional_call(net, w, (task.x_train,)) - task.y_train).square().sum() / 16)(dict(net.named_parameters()))
    assert abs(exact.value - sum(H[k][k].reshape(w.numel(), -1).trace() for k, w in net.named_parameters())) < 4 * exact.se
