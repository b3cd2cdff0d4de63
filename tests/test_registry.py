"""Yours: by name and version, from a module or a notebook, in worker processes, in run folders, in a stranger's hands."""
import importlib
import json
import os
import subprocess
import sys
import textwrap
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from grok_nb.display.plot import plot_run
from grok_nb.errors import GrokError
from grok_nb.files import read_json
from grok_nb.measures.probes import MEASURES
from grok_nb.models.registry import MODELS
from grok_nb.registry import fingerprint
from grok_nb.runs.sweep import sweep
from grok_nb.runs.table import read_store
from grok_nb.tasks.task import TASKS, make_task, table_task
from grok_nb.training.config import REGISTRIES, RunConfig, own_things, take_things
from grok_nb.training.fit import fit
from grok_nb.training.history import same_history
from grok_nb.training.network import unknown_names
from grok_nb.training.run import ChangedSource, load_run

# One of each kind; they leave the id of the process that used them in the folder that SEEN names.
MINE = '''
import os
from pathlib import Path
import torch
from torch import nn
from grok_nb import LOSSES, MEASURES, METHODS, MODELS, OPTIMIZERS, SCHEDULES, TASKS, Method, table_task
from parts import seen

@TASKS.register("maximum")
def maximum(seed, p=7, train_frac=.6):
    seen("task")
    a = torch.arange(p)
    return table_task(torch.maximum(a[:, None], a), train_frac, seed)

@MODELS.register("bag")
class Bag(nn.Module):
    def __init__(self, task, d=8):
        super().__init__()
        seen("model")
        self.embed, self.out = nn.Embedding(task.n_tokens, d), nn.Linear(d, task.n_classes)
    def forward(self, x): return self.out(self.embed(x).sum(1))

@OPTIMIZERS.register("plain")
def plain(weights, rate=.1):
    seen("optimizer")
    return [torch.optim.SGD(weights.values(), lr=rate)]

@SCHEDULES.register("thirds")
def thirds(step, steps, factor=.5):
    seen("schedule")
    return factor**(3*step//steps)

@LOSSES.register("doubled")
def doubled(logits, labels, by=2.):
    seen("loss")
    loss, right = LOSSES["cross_entropy"](logits, labels)
    return by*loss, right

@METHODS.register("soft")
class Soft(Method):
    def __init__(self, by=.9): self.by = by
    def loss(self, losses, logits, labels):
        seen("method")
        return self.by*losses

@MEASURES.register("sizes")
def sizes(model, task, generator, power=1):
    seen("probe")
    return {"size": sum(w.abs().pow(power).sum().item() for w in model.parameters())}
'''
PARTS = '''
import os
from pathlib import Path

def seen(what): (Path(os.environ["SEEN"])/f"{what} {os.getpid()}").touch()
'''
SWEEP = '''
from grok_nb import grid, sweep
CONFIGS = grid("maximum", seed=range(2), model="bag", d=4, optimizer="plain", rate=.2, schedule="thirds", factor=.7, loss="doubled",
               by=None, method="soft", probes=dict(name="sizes", every=10, power=2), steps=20, log_every=10, frames=0)
'''.replace("by=None, ", "loss_args=dict(by=3.), method_args=dict(by=.8), ")
KINDS = {"task", "model", "optimizer", "schedule", "loss", "method", "probe"}


@pytest.fixture(autouse=True)
def forget():
    "What a test registers is not known to the next."
    before = {kind: dict(registry) for kind, registry in REGISTRIES.items()}
    yield
    for kind, registry in REGISTRIES.items():
        for name in set(registry) - set(before[kind]):
            del registry[name]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    "A folder with the module and what it uses, and one for what was seen."
    (tmp_path / "seen").mkdir()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text(MINE)
    (tmp_path / "code" / "parts.py").write_text(PARTS)
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    return tmp_path


def users(mine):
    "Kind -> ids of the processes that used something of this kind; then forgotten."
    found = {}
    for path in (mine / "seen").iterdir():
        kind, pid = path.name.split()
        found.setdefault(kind, set()).add(int(pid))
        path.unlink()
    return found


def script(mine, where, call):
    "What a script says that has all of it in a module, or itself; and its process id first."
    code = "import mine" if where == "a module" else MINE
    code = f"import os\n{code}\n{SWEEP}\nif __name__ == '__main__':\n    print(os.getpid())\n" + textwrap.indent(textwrap.dedent(call), "    ")
    (mine / "code" / "script.py").write_text(code)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "script.py"], cwd=mine / "code", env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    pid, *said = done.stdout.splitlines()
    return int(pid), said, done.stderr


@pytest.mark.parametrize("where", ["a module", "the script"])
def test_processes_know_all_that_is_mine(mine, where):
    "Methods alone reached workers once; a patched model trained as the built-in one and was reported as done."
    pid, said, _ = script(mine, where, f"""
        one = sweep(CONFIGS, {str(mine / "one")!r}, n_jobs=1, quiet=True)
        import shutil
        for path in os.scandir(os.environ["SEEN"]): os.unlink(path)
        two = sweep(CONFIGS, {str(mine / "two")!r}, n_jobs=2, quiet=True)
        print(one.summary["status"].tolist(), two.summary["status"].tolist(), one.history.equals(two.history))
        print(one.history["size"].notna().sum(), len(one.history))
    """)
    assert said == ["['done', 'done'] ['done', 'done'] True", "6 6"]
    found = users(mine)
    assert set(found) == KINDS and all(pids - {pid} for pids in found.values())
    assert not any(pid in pids for kind, pids in found.items() if kind in ("loss", "method", "probe"))  # none of it in the caller
    for folder in (mine / "two").glob("[0-9a-f]*"):
        assert {o.split()[0] for o in read_json(folder / "sources.json")} == KINDS


def test_a_cluster_of_one_worker_does_the_work(mine):
    "joblib's own way through Dask did all of it in the caller. The worker has no way to import the module."
    pytest.importorskip("distributed")
    pid, said, errors = script(mine, "a module", f"""
        import subprocess, sys, time
        from pathlib import Path
        quiet, empty = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), Path({str(mine / "empty")!r})
        empty.mkdir()
        start = lambda what, *words: subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{{what}}", *words, "--no-dashboard"],
                                                      cwd=empty, **quiet)
        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(empty/"where"))
        worker = start("worker", "--scheduler-file", str(empty/"where"), "--nthreads", "1", "--nworkers", "1", "--no-nanny")
        try:
            import json
            while not (empty/"where").exists() or not (empty/"where").read_text(): time.sleep(.1)
            address = json.loads((empty/"where").read_text())["address"]
            one = sweep(CONFIGS, {str(mine / "one")!r}, scheduler=address, quiet=True)
            print(one.summary["status"].tolist(), worker.pid)
        finally:
            for process in (worker, scheduler):
                process.terminate()
                process.wait(30)
    """)
    status, worker = said[0].rsplit(" ", 1)
    assert status == "['done', 'done']", (said, errors)
    found = users(mine)
    assert set(found) == KINDS and found["method"] == found["probe"] == found["loss"] == {int(worker)}


def test_a_scheduler_without_workers_is_an_error(monkeypatch):
    distributed = pytest.importorskip("distributed")
    from grok_nb.runs import sweep as room

    def none(self, *args, **kwargs):
        raise TimeoutError("no worker")

    monkeypatch.setattr(distributed.Client, "wait_for_workers", none)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        with pytest.raises(GrokError, match="has no worker; start one"), room._workers(1, cluster.scheduler_address):
            pass


# Changed source


def module(folder, name, text):
    "A module of this text, imported anew."
    (folder / f"{name}.py").write_text(text)
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    for cached in folder.glob(f"__pycache__/{name}.*"):
        cached.unlink()
    return importlib.import_module(name)


NET = """
from torch import nn
FACTOR = 1
def scaled(x): return FACTOR*x
class Base(nn.Module):
    def size(self): return 8
class Net(Base):
    def __init__(self, task, d=8):
        super().__init__()
        self.embed, self.out = nn.Embedding(task.n_tokens, d), nn.Linear(self.size(), task.n_classes)
    def forward(self, x): return self.out(scaled(self.embed(x).sum(1)))
"""
CONFIG = dict(task="add", p=7, train_frac=.6, steps=20, log_every=10, frames=4)


@pytest.mark.parametrize("old,new", [("x).sum(1)", "x).mean(1)"), ("FACTOR*x", "FACTOR + x"), ("FACTOR = 1", "FACTOR = 2"),
                                     ("def size(self): return 8", "def size(self): return 4 + 4")],
                         ids=["itself", "a function that it uses", "a number that it uses", "its base"])
def test_going_on_with_changed_source_is_an_error(tmp_path, monkeypatch, old, new):
    monkeypatch.syspath_prepend(str(tmp_path))
    MODELS.register("net", module(tmp_path, "netmodule", NET).Net)
    config = RunConfig(model="net", **CONFIG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = fit(config, tmp_path / "store" / config.hash, quiet=True, callbacks=[lambda t: setattr(t, "stopped", t.step == 10)])
    assert part.status == "interrupted"
    sha = read_json(tmp_path / "store" / config.hash / "sources.json")["model net"]
    MODELS.register("net", module(tmp_path, "netmodule", NET).Net)  # the same again is the same
    assert fit(config, tmp_path / "store" / config.hash, quiet=True).status == "done"
    assert NET.count(old) == 1
    MODELS.register("net", module(tmp_path, "netmodule", NET.replace(old, new)).Net)
    before = {p: p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file()}
    for go_on in (lambda: fit(config, tmp_path / "store" / config.hash, quiet=True), lambda: load_run(tmp_path / "store" / config.hash).model,
                  lambda: sweep([config], tmp_path / "store", n_jobs=1, quiet=True)):
        with pytest.raises(ChangedSource, match="the source of model net has changed since this run began; register what is new with version=2"):
            go_on()
    assert all(p.read_bytes() == data for p, data in before.items())
    assert len(load_run(tmp_path / "store" / config.hash).history) == 3  # what came of the old one can be read
    MODELS.register("net", MODELS["net"], version=2)
    second = fit(replace(config, model="net@2"), tmp_path / "second", quiet=True)
    assert second.status == "done" and second.config.hash != config.hash
    assert read_json(tmp_path / "second" / "sources.json")["model net@2"] != sha


def test_a_probe_and_a_task_have_a_source_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "def count(model, task): return {'n': 1}\ndef grid(seed, n=5):\n    import torch\n    from grok_nb import table_task\n" \
           "    return table_task(torch.arange(n)[:, None].expand(n, n).clone(), .6, seed)\n"
    for name, registry, kind in (("count", MEASURES, "probe"), ("grid", TASKS, "task")):
        registry.register(name, getattr(module(tmp_path, "things", text), name))
        config = RunConfig(probes=dict(name="count", every=10), **CONFIG) if kind == "probe" else \
            RunConfig(task="grid", model="mlp", steps=20, frames=0)
        fit(config, tmp_path / kind, quiet=True)
        registry.register(name, getattr(module(tmp_path, "things", text.replace("'n': 1", "'n': 2").replace("[:, None]", "[None]")), name))
        with pytest.raises(ChangedSource, match=f"the source of {kind} {name} has changed"):
            fit(config, tmp_path / kind, quiet=True)


def test_fingerprints_do_not_hang_on_what_is_elsewhere():
    one, two = (dict(__name__="m", WIDTH=8, other=other) for other in (1, 2))
    for scope in (one, two):
        exec("def f(x): return x*WIDTH\nclass G:\n    def __init__(self): self.other = 3", scope)
    assert fingerprint(one["f"]) == fingerprint(two["f"]) and fingerprint(one["G"]) == fingerprint(two["G"])


# A stranger's


def test_a_run_with_unknown_names_can_be_read(tmp_path):
    @MODELS.register("theirs", version=3)
    class Theirs(nn.Module):
        def __init__(self, task, depth=1):
            super().__init__()
            self.embed, self.out = nn.Embedding(task.n_tokens, 8), nn.Linear(8, task.n_classes)

        def forward(self, x): return self.out(self.embed(x).sum(1))

    @TASKS.register("their_sum")
    def their_sum(seed, p=7):
        a = torch.arange(p)
        return table_task((a[:, None] + a) % p, .6, seed)

    known = RunConfig(model="theirs@3", depth=2, **CONFIG)
    whole = RunConfig(task="their_sum", p=5, model="theirs@3", steps=20, log_every=10, frames=4)
    runs = [(c, fit(c, tmp_path / "store" / c.hash, quiet=True)) for c in (known, whole)]
    things = own_things()
    del MODELS["theirs@3"], TASKS["their_sum"]
    for config, run in runs:
        needs = ["TASKS.register('their_sum', ...)"]*(config is whole) + ["MODELS.register('theirs', ..., version=3)"]
        assert unknown_names(config) == needs
        found = load_run(tmp_path / "store" / config.hash)
        assert found.config == config and found.config.hash == config.hash and found.status == "done"
        assert asdict(found.config) == asdict(config) and found.config.p == config.p
        assert same_history(found.history, run.history) and (found.grokked == run.grokked or found.grokked != found.grokked)
        assert set(found.frames) == (set(run.frames) if config is known else set())  # what a frame must be, the task says
        plot_run(found.history)
        with pytest.raises(GrokError) as e:
            _ = found.model
        assert all(need in str(e.value) for need in needs) and "read it again" in str(e.value)
        with pytest.raises(GrokError, match="is not known; there are"):
            fit(config, tmp_path / "again", quiet=True)
        assert not (tmp_path / "again").exists()
        (other := tmp_path / "half" / config.hash).mkdir(parents=True)
        for name in ("config.json", "checkpoint.pt"):
            (other / name).write_bytes((tmp_path / "store" / config.hash / name).read_bytes())
        with pytest.raises(GrokError, match="is not finished, and needs"):
            load_run(other)
    table = read_store(tmp_path / "store")
    assert not table.problems and set(table.summary["status"]) == {"done"} and set(table.configs) == {c.hash for c, _ in runs}
    take_things(things)
    for config, run in runs:
        again = load_run(tmp_path / "store" / config.hash).model
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), run.model.parameters(), strict=True))


def test_a_run_whose_names_take_other_arguments_now_can_be_read(tmp_path):
    def first(task, depth=1): return nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 7))
    def second(task, width=1): return first(task)
    MODELS.register("changing", first)
    config = RunConfig(model="changing", depth=3, **CONFIG)
    run = fit(config, tmp_path, quiet=True)
    MODELS.register("changing", second)
    found = load_run(tmp_path)
    assert found.config.depth == 3 and same_history(found.history, run.history)
    with pytest.raises(ChangedSource):
        _ = found.model


# One clear error each

CODE = "__import__('os').system('touch PWNED')"


@pytest.mark.parametrize("kind", list(REGISTRIES))
@pytest.mark.parametrize("name", ["nonsense", "mine@2", CODE, "os:system", "../../x", "", 7, None, [], {}])
def test_unknown_names(kind, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GrokError) as e:
        RunConfig(probes=[name]) if kind == "probe" else RunConfig(**{kind: name})
    assert len(str(e.value).splitlines()) == 1 and len(str(e.value)) < 1000 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings,why", [
    (dict(n_layers=2), "it is one of model 'decoder'"), (dict(model="decoder", n_layer=2), "n_layer"), (dict(model_args=dict(p=7)), "does not take p"),
    (dict(optimizer="sgd", method="grokfast", momentum=.5), "say which"), (dict(lr=CODE), "it must be a number"), (dict(model="decoder", norm=CODE), "is not known"),
    (dict(model_args=CODE), "must be a dict"), (dict(task_args={CODE: 1}), "does not take"), (dict(optimizer="muon", adamw_names=CODE, lr="1"), "lr = '1'"),
    (dict(task=CODE), "is not known"), (dict(task="x+" + CODE), "is not known"), (dict(schedule="cosine", final=3), "final = 3"),
    (dict(method="noise+noise", lambda1=CODE), "lambda1"), (dict(probes=dict(name="norms", every=25, power=CODE)), "does not take power")])
def test_wrong_arguments(settings, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GrokError, match=why) as e:
        RunConfig(**settings)
    assert len(str(e.value).splitlines()) == 1 and not list(tmp_path.iterdir())


def test_another_task_is_an_error(tmp_path):
    "A run folder that did not know its task gave A's history for B, or went on from A's checkpoint on B's data."
    one, other = make_task("add", 7, .6, seed=3), make_task("add", 7, .6, seed=4)
    config = RunConfig(model="mlp", **CONFIG)
    fit(config, tmp_path, quiet=True, task=one)
    for task in (other, None):
        with pytest.raises(GrokError, match="holds another run \\(data differ\\)"):
            fit(config, tmp_path, quiet=True, task=task)
        with pytest.raises(GrokError, match="task"):
            load_run(tmp_path, task)


def test_names_that_mean_something_already_cannot_be_taken():
    for registry, name in ((MODELS, "decoder"), (TASKS, "xy"), (TASKS, "x"), (MEASURES, "norms")):
        with pytest.raises(GrokError, match="comes with the package"):
            registry.register(name, lambda task: None)
    for name in ("my model", "mine@2", "2mine", CODE, "", None, "a:b", "a+b"):
        with pytest.raises(GrokError, match="letters, digits"):
            MODELS.register(name, lambda task: None)
    for version in (0, 1.5, "2", True):
        with pytest.raises(GrokError, match="version ="):
            MODELS.register("mine", lambda task: None, version=version)


def test_reading_imports_nothing(tmp_path, monkeypatch):
    run = fit(RunConfig(model="mlp", **CONFIG), tmp_path / "run", quiet=True)
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    values = asdict(run.config) | dict(model="stranger", model_args={}, optimizer="stranger:Net", method="stranger+noise")
    (tmp_path / "run" / "config.json").write_text(json.dumps(values))
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({k: v for k, v in about.items() if k != "sha256"}))
    found = load_run(tmp_path / "run")
    assert same_history(found.history, run.history)
    with pytest.raises(GrokError, match="MODELS.register\\('stranger'"):
        _ = found.model
    assert "stranger" not in sys.modules and not Path("PWNED").exists()
