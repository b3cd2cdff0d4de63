"""How much a run survives: kills at random moments, damaged files, a stranger's files, and configs of every kind.

python benchmarks/faults.py [--kills 60] [--flips 240] [--configs 1000] [--calls 10000] [--probes 10000] [--seed 0]

A killed run is a fork of this process, which has torch loaded, so that a kill costs no import; it writes a checkpoint
at every step, so that many kills come in the middle of a write. A stranger's files are read in a fork as well, whose
memory is limited.
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fuzz import limit_memory, report, resident

from grok_nb.files import arrays_bytes, state_bytes
from grok_nb.errors import GrokError
from grok_nb.runs.table import read_store
from grok_nb.runs.sweep import sweep
from grok_nb.training.config import COMPONENTS, RunConfig, component_arguments
from grok_nb.training.loop import Training
from grok_nb.training.fit import fit
from grok_nb.training.run import load_run
from grok_nb.training.history import same_history

TINY = RunConfig(p=7, train_frac=.5, d_model=16, d_mlp=32, steps=60, log_every=10, frames=8, stop_factor=0)
KINDS = [replace(TINY, **o) for o in (
    dict(method="noise"), dict(method="noise+abelian", probes=({"name": "information", "every": 20}, {"name": "norms", "every": 10})),
    dict(method="grokfast", batch_size=8), dict(method="grokfast_ma", method_args=dict(window=5)), dict(method="translation", dtype="float64"))]


def quietly(function, *args, **kwargs):
    "What a function gave, and the warnings it gave with it."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        return function(*args, **kwargs), [str(o.message) for o in said]


def same_run(a, b):
    "Whether two runs have the same history and frames, to the bit."
    frames = {(k, o): v.tobytes() for k, f in a.frames.items() for o, v in f.items()}
    return same_history(a.history, b.history) and frames == {(k, o): v.tobytes() for k, f in b.frames.items() for o, v in f.items()}


# Kills


def kill_once(config, folder, seconds):
    "Start a run in a fork and kill it; whether it was still under way."
    child = os.fork()
    if not child:
        try:
            quietly(fit, config, folder, quiet=True, save_every=0)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def kills(n, rng):
    "(kills that met a run under way, runs, runs that did not come to the same end, kills that left a half-written file)"
    done, runs, lost, torn = 0, 0, 0, 0
    while done < n:
        config = replace(KINDS[runs % len(KINDS)], seed=runs)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            before = time.monotonic()
            whole, _ = quietly(fit, config, folder / "whole", quiet=True, save_every=0)
            seconds = time.monotonic() - before
            for _ in range(6):
                done += kill_once(config, folder / "run", rng.uniform(0, seconds / 2))
                torn += any(folder.glob("run/.*.tmp"))
            try:
                end, _ = quietly(fit, config, folder / "run", quiet=True)
                well = same_run(end, whole) and same_run(load_run(folder / "run"), whole) and not list(folder.glob("run/.*.tmp"))
            except Exception:
                traceback.print_exc()
                well = False
        runs, lost = runs + 1, lost + (not well)
    return done, runs, lost, torn


# Damage


def damage(data, rng):
    "A file's bytes with one bit flipped, cut short, or a stretch of zeros in them."
    kind, at = rng.choice(("flip", "flip", "cut", "zeros")), rng.randrange(len(data))
    out = bytearray(data)
    if kind == "flip":
        out[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        out = out[:at]
    else:
        out[at:at + 64] = bytes(len(out[at:at + 64]))
    return bytes(out)


def flips(n, rng):
    "(files damaged, of these noticed, runs lost): by name of the file."
    files = ["checkpoint.pt", "checkpoint.prev", "both checkpoints", "history.csv.gz", "frames.npz", "run.json", "config.json"]
    counts = {name: [0, 0, 0] for name in files}
    with tempfile.TemporaryDirectory() as top:
        top = Path(top)
        whole, _ = quietly(fit, KINDS[1], top / "whole", quiet=True, save_every=0)
        for i in range(n):
            name, run = files[i % len(files)], top / "run"
            shutil.copytree(top / "whole", run)
            if name == "checkpoint.prev":
                (run / "checkpoint.pt").unlink()  # else nobody reads the one before
            for part in ("checkpoint.pt", "checkpoint.prev") if name == "both checkpoints" else (name,):
                before = (run / part).read_bytes()
                while (after := damage(before, rng)) == before:
                    pass
                (run / part).write_bytes(after)
            try:
                noticed = any("damaged" in o for o in quietly(load_run, run)[1])
            except GrokError as e:
                noticed = part in str(e)
            try:
                end, said = quietly(fit, KINDS[1], run, quiet=True)  # goes on, or anew, and puts every file right
                lost = not same_run(end, whole) or not same_run(load_run(run), whole)
            except GrokError:  # a run whose config cannot be read is not touched
                lost = name != "config.json" or any((run / o.name).read_bytes() != o.read_bytes() for o in (top / "whole").iterdir() if o.name != name)
            shutil.rmtree(run)
            counts[name] = [a + b for a, b in zip(counts[name], (1, noticed, lost))]
    return counts


# A stranger's files


def bomb(size):
    "A gzip file of that many zeros."
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as f:
        f.write(b"step,train/acc,test/acc\n")
        for _ in range(size >> 20):
            f.write(bytes(1 << 20))
    return out.getvalue()


class Code:
    "What runs a command when it is unpickled."
    def __reduce__(self):
        return os.system, ("touch PWNED",)


def header(shape, descr="<f2"):
    "The header of a numpy array."
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, dict(descr=descr, fortran_order=False, shape=shape))
    return out.getvalue()


def odd_header(text):
    "An npy file with any text for its header."
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(2)


def overlapping(data):
    "A zip file of which every member is the first one."
    at = data.index(b"PK\1\2")
    parts = data[at:].split(b"PK\1\2")[1:]
    return data[:at] + b"".join(b"PK\1\2" + part[:38] + bytes(4) + part[42:] for part in parts)


def zipped(members, kind=zipfile.ZIP_DEFLATED):
    "A zip file from (name, bytes)."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as z, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in members:
            z.writestr(name, data)
    return out.getvalue()


def signed(data):
    "A checkpoint behind its checksum."
    return hashlib.sha256(data).digest() + data


def npy(array, allow_pickle=True):
    "An array as a npy file."
    out = io.BytesIO()
    np.save(out, array, allow_pickle=allow_pickle)
    return out.getvalue()


CONFIGS = [  # changes to a config.json, or text in its place
    dict(p=10**9), dict(p=10**400), dict(d_mlp=2**31 - 1), dict(d_model=2**30, n_heads=1), dict(width=2**31 - 1, model="mlp"), dict(frames=2**31 - 1),
    dict(threads=10**6), dict(n_train=10**9, task="mnist", model="mlp", task_args={}, model_args={}), dict(steps="100"), dict(lr=float("nan")), dict(lr=float("inf")), dict(lr="1e-3"),
    dict(weight_decay=[1]), dict(betas=[.9]), dict(betas="ab"), dict(betas=5), dict(betas=[.9, None]), dict(method=5), dict(method=None),
    dict(method="noise+nonsense"), dict(method_args=[1]), dict(method_args="x"), dict(method="noise", method_args=dict(lambda1="x")),
    dict(method="noise", method_args=dict(lambda1=None)), dict(method="grokfast_ma", method_args=dict(window=10**12)),
    dict(method="abelian", method_args=dict(stop="x")), dict(probes={"a": 1}), dict(probes=5), dict(probes=[5]), dict(probes=["../../etc"]),
    dict(probes=[{"name": "norms", "every": 0}]), dict(task="mnist/../../etc/passwd"), dict(task="add:999999*add:999999"), dict(task=7),
    dict(task="symmetric:9"), dict(seed=-1), dict(seed=True), dict(seed=1.5), dict(dtype="object"), dict(dtype="load"), dict(split="../.."),
    dict(loss="__class__"), dict(log_every=0), dict(hold=-1), dict(train_frac=1e-9), dict(unknown="field"), dict(__class__="os.system"),
    dict(model="os.system"), dict(model="__import__('os').system('touch PWNED')"), dict(model="../../PWNED"), dict(model="mine@2"),
    dict(model=["decoder"]), dict(model={"decoder": 1}), dict(model="m" * 10**5), dict(model="\x1b[2Jmine"), dict(model_args={"generator": 1}),
    dict(model_args={"task": "add"}), dict(model_args={"__class__": "os.system"}), dict(model="decoder", n_layers=10**9), dict(model="decoder", norm="eval"),
    dict(model="decoder", d_model=2**30), dict(model="mlp", depth=10**6), dict(model="mlp", width=2**31 - 1), dict(model="mine", model_args={"x": [[]] * 10**4}),
    dict(optimizer="os:system"), dict(optimizer="torch:load"), dict(optimizer="torch:__builtins__"), dict(optimizer="torch:LBFGS"), dict(optimizer=7),
    dict(optimizer="pytorch_optimizer:load_optimizer"), dict(optimizer_args={"weights": []}), dict(optimizer="muon", adamw_names=7),
    dict(optimizer="torch:SGD", optimizer_args={"lr": "__import__('os').system('touch PWNED')"}), dict(optimizer_args={"d_model": 3}),
    dict(schedule="eval"), dict(schedule_args={"step": 3}), dict(warmup=10**400), dict(schedule="cosine", final="x"), dict(loss_args={"logits": 1}),
    dict(loss="cross_entropy.__globals__"), dict(task="().__class__"), dict(task="x^99999999999"), dict(task="(" * 10**4 + "x"), dict(task="x/0"),
    dict(task="x if y else 0"), dict(task="exec('1')"), dict(task_args={"root": "/etc"}), dict(task_args={"seed": 1}), dict(method="noise+os.system"),
    dict(method="+".join(["noise"] * 10**4)), dict(data="../../../x"), dict(probes=[{"name": "__import__('os')", "every": 10, "model": 1}]),
    "[" * 100_000, "[]", "null", "{", '{"p": 7, "p": 8}', '{"p": 1e999}', '{"p": ' + "9" * 5000 + "}", " " * 2_000_000, "\udcff\x00", '"<script>"']


def changed(values, change):
    "A config's values with a change; a word that a component takes goes to its arguments, as if the run had been made so."
    renamed = {f"{o}_args": {} for o in COMPONENTS if o in change}
    values = values | renamed | {k: v for k, v in change.items() if k in values}
    for word, value in change.items():
        takers = [o for o in COMPONENTS if word not in values and word in known_arguments(o, values[o])]
        for place in takers:
            values[f"{place}_args"] = {**values[f"{place}_args"], word: value}
        values |= {} if takers or word in values else {word: value}
    return values


def known_arguments(component, name):
    "What a component of this name takes; nothing if there is none."
    try:
        return component_arguments(component, name)
    except (GrokError, TypeError):
        return {}


def hostile(top):
    "(name, function that makes a hostile folder of a good one, function that meets it) of each attack."
    run, mine = top / "store" / TINY.hash, top / "mine.txt"

    def put(name, data):
        def make():
            (run / name).unlink(missing_ok=True)
            (run / name).write_bytes(data() if callable(data) else data)
            forget()
        return make

    def forget():  # the checksums, as a stranger would put them right
        about = json.loads((run / "run.json").read_text())
        about.pop("sha256", None)
        (run / "run.json").write_text(json.dumps(about))

    def link(path, target=mine):
        def make():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            path.symlink_to(target)
        return make

    def config(change):
        def make():
            text = change if isinstance(change, str) else json.dumps(changed(json.loads((run / "config.json").read_text()), change))
            (run / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
            forget()
        return make

    def about(**change):
        def make():
            forget()
            (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | change))
        return make

    def state(**change):
        def make():
            t = Training([TINY])
            t.update(*t.forward()[:2])
            t.rows, t.frames = [[]], [{}]
            (run / "checkpoint.pt").write_bytes(signed(state_bytes(t.state() | dict(seconds=0., status=None) | change)))
        return make

    def saved(o):
        out = io.BytesIO()
        torch.save(o, out)
        return signed(out.getvalue())

    def fifo():
        (run / "history.csv.gz").unlink()
        os.mkfifo(run / "history.csv.gz")
        forget()

    load, go_on = (lambda: load_run(run).model), (lambda: fit(TINY, run, quiet=True))
    whole, csv = (lambda: sweep([TINY], top / "store", n_jobs=1, quiet=True)), (lambda text: lambda: gzip.compress(text.encode()))
    params = {k: v.detach() for k, v in Training([TINY]).params.items()}
    for i, change in enumerate(CONFIGS):
        yield f"config {i}: {str(change)[:40]}", config(change), load
    for name in ("config.json", "history.csv.gz", "frames.npz", "run.json", "checkpoint.pt"):
        yield f"{name} is a link", link(run / name), load
        yield f"{name} is a link into nowhere", link(run / name, top / "nowhere"), load
    for what, data in {"a list": b"[]", "text": b"import os", "code": b'{"model mine": {"__reduce__": "os.system"}', "huge": b" " * 2_000_000, "a pickle": pickle.dumps(Code())}.items():
        yield f"sources.json is {what}", put("sources.json", data), load
        yield f"sources.json is {what}, fit", put("sources.json", data), go_on
    yield "sources.json is a link", link(run / "sources.json"), load
    yield "history.csv.gz is a pipe", fifo, load
    yield "history.csv.gz is /dev/zero", link(run / "history.csv.gz", Path("/dev/zero")), load
    yield "the run folder is a link", link(run, top), go_on
    yield "errors are a link", link(top / "store" / ".errors", top), whole
    yield "stacks are a link", link(top / "store" / ".stacks", top), whole
    yield "the lock is a link", link(run / ".lock"), go_on
    yield "the lock is a hard link", lambda: os.link(mine, run / ".lock"), go_on
    yield "the lock is a link, sweep", lambda: ((run / "run.json").unlink(), link(run / ".lock")()), lambda: refuse_failed(whole())
    yield "history bomb", put("history.csv.gz", lambda: bomb(1 << 29)), load
    yield "history of text", put("history.csv.gz", csv("step,train/acc,test/acc\n0,=cmd|' /C calc'!A0,1\n")), load
    yield "history without columns", put("history.csv.gz", csv("a,b\n1,2\n")), load
    yield "history out of order", put("history.csv.gz", csv("step,train/acc,test/acc\n9,1,1\n0,1,1\n")), load
    yield "history of binary", put("history.csv.gz", lambda: gzip.compress(random.Random(0).randbytes(5000))), load
    yield "history is no gzip", put("history.csv.gz", b"step,train/acc,test/acc\n0,1,1\n"), load
    yield "frames: pickled objects", put("frames.npz", zipped([("answers/0.npy", npy(np.array([Code()], object)))])), load
    yield "frames: a bare pickle", put("frames.npz", pickle.dumps(Code())), load
    yield "frames: paths", put("frames.npz", zipped([("../../../PWNED.npy", npy(np.zeros(3)))])), load
    yield "frames: absolute path", put("frames.npz", zipped([("/tmp/PWNED/0.npy", npy(np.zeros(3)))])), load
    yield "frames: a huge header", put("frames.npz", zipped([("answers/0.npy", header((10**6, 10**6)))])), load
    yield "frames: overflow", put("frames.npz", zipped([("answers/0.npy", header((2**62, 8)))])), load
    yield "frames: negative", put("frames.npz", zipped([("answers/0.npy", header((-1, -1)) + b"\0\0")])), load
    yield "frames: zip bomb", put("frames.npz", lambda: zipped([("answers/0.npy", header((1 << 28,)) + bytes(1 << 29))])), load
    yield "frames: wrong shape", put("frames.npz", arrays_bytes({"answers/0": np.zeros(3, np.uint8)})), load
    yield "frames: wrong type", put("frames.npz", arrays_bytes({"answers/0": np.zeros(49), "embedding/0": np.zeros((8, 16))})), load
    yield "frames: LZMA", put("frames.npz", zipped([("answers/0.npy", npy(np.zeros(49, np.uint8)))], zipfile.ZIP_LZMA)), load
    yield "frames: bzip2", put("frames.npz", zipped([("answers/0.npy", npy(np.zeros(49, np.uint8)))], zipfile.ZIP_BZIP2)), load
    yield "frames: members over one another", put("frames.npz", overlapping(zipped([(f"answers/{i}.npy", npy(np.zeros(49, np.uint8))) for i in range(9)]))), load
    for text in (b"{'descr': '<f2', 'fortran_order': False, 'shape': (1,), 'x': 1}", b"{[]: 1}", b"(" * 500, b"{'descr': [('a', '<f2')], 'fortran_order': False, 'shape': (1,), }",
                 b"{'descr': '<f2', 'fortran_order': False, 'shape': (0, 10" + b"0" * 400 + b"), }", b"\x00\xff", b"import os"):
        yield f"frames: header {text[:30]}", put("frames.npz", zipped([("answers/0.npy", odd_header(text))])), load
    yield "frames: twice", put("frames.npz", zipped([("answers/0.npy", npy(np.zeros(49, np.uint8)))] * 2)), load
    yield "frames: no number", put("frames.npz", arrays_bytes({"answers/x": np.zeros(49, np.uint8)})), load
    yield "checkpoint: a pickle", put("checkpoint.pt", signed(pickle.dumps(Code()))), load
    yield "checkpoint: torch, with code", put("checkpoint.pt", lambda: saved({"a": Code()})), load
    yield "checkpoint: torch, weights", put("checkpoint.pt", lambda: saved({"params": torch.ones(3)})), load
    yield "checkpoint: objects", put("checkpoint.pt", signed(zipped([("state.npy", npy(np.array([Code()], object)))]))), load
    yield "checkpoint: zip bomb", put("checkpoint.pt", lambda: signed(zipped([("state.npy", header((1 << 29,), "|u1") + bytes(1 << 29))]))), load
    yield "checkpoint: deep", put("checkpoint.pt", lambda: signed(arrays_bytes({"state": np.frombuffer(b"[" * 10**5, np.uint8)}))), load
    yield "checkpoint: no tensor", put("checkpoint.pt", signed(arrays_bytes({"state": np.frombuffer(b'{"a": {"": 7}}', np.uint8)}))), load
    for name, change in dict(hashes=dict(hashes=["0" * 12]), step=dict(step=-1), late=dict(step=10**12), text=dict(step="1"), none=dict(params=None),
                             small=dict(params={k: v[:, :1] for k, v in params.items()}), double=dict(params={k: v.double() for k, v in params.items()}),
                             short=dict(params={k: params[k] for k in list(params)[1:]}), moments=dict(optimizer={0: {"step": torch.ones(1)}}),
                             generator=dict(streams={"noise": [torch.zeros(3)], "batches": [torch.zeros(3)]}),
                             zeros=dict(streams={k: [torch.zeros(5056, dtype=torch.uint8)] for k in ("noise", "batches")}), rows=dict(rows=[["x"]]),
                             words=dict(rows=[[{"step": 0, "train/acc": "<b>", "test/acc": 1.}]]), frames=dict(frames=[{0: {"answers": torch.ones(2)}}]),
                             order=dict(order=torch.full((1, 9), 10**9)), methods=dict(methods=[])).items():
        if name not in ("moments", "generator", "zeros", "methods"):  # which weights that are only looked at do not need
            yield f"checkpoint: {name}", state(**change), load
        yield f"checkpoint: {name}, fit", state(**change), go_on
    for change in (dict(status=5), dict(seconds="x"), dict(environment=[]), dict(status="\x1b[2Jdone"), dict(extra=1), dict(sha256=[1]),
                   dict(seconds=10**400), dict(seconds=float("inf")), dict(status="\ud800"), dict(environment={"cpu": "\ud800"})):
        yield f"run.json: {str(change)[:40]}", about(**change), load
        yield f"run.json: {str(change)[:40]}, store", about(**change), lambda: refuse_problems(read_store(top / "store"))
    yield "an error that is a link", lambda: (forget(), (run / "run.json").unlink(), link(top / "store" / ".errors" / f"{TINY.hash}.json")()), \
        lambda: refuse_problems(read_store(top / "store"))


def refuse_failed(table):
    "A sweep says in its table what it could not do."
    if (table.summary["status"] != "done").any():
        raise GrokError(table.summary["status"].iloc[0])


def refuse_problems(table):
    "A store says what is wrong with it in `problems`."
    if table.problems:
        raise GrokError(table.problems[0])


def meet(make, act, top, good, seconds=60, memory=1 << 28):
    "'refused', or what happened instead, of one attack in a fork of its own."
    shutil.rmtree(top, ignore_errors=True)
    shutil.copytree(good, top)
    make()
    there = {p for p in top.rglob("*")}
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.chdir(top)
        signal.alarm(seconds)
        limit_memory(memory)
        before = resident()
        try:
            quietly(act)
            said = "accepted"
        except GrokError:
            said = "refused"
        except BaseException as e:
            said = f"{type(e).__name__}: {e}"[:300]
        if (more := resident("VmHWM") - before) > memory:
            said = f"took {more >> 20} MB"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        said = f.read()
    os.waitpid(child, 0)
    new = {p for p in top.rglob("*")} - there - {top / "store" / o for o in (".errors", ".stacks")}
    if (top / "mine.txt").read_text() != "mine" or any("PWNED" in p.name for p in new):
        return f"BROKE OUT: {sorted(map(str, new))}"
    return said or "hung, or was ended by the system"


def attacks(some=lambda name: True):
    "(attack, what became of it) of each whose name is wanted."
    with tempfile.TemporaryDirectory() as folder:
        good, top = Path(folder) / "good", Path(folder) / "top"
        quietly(sweep, [TINY], good / "store", n_jobs=1, quiet=True)
        (good / "mine.txt").write_text("mine")
        shutil.copytree(good, top)
        run = top / "store" / TINY.hash
        for act in (lambda: load_run(run).model, lambda: fit(TINY, run, quiet=True), lambda: refuse_problems(read_store(top / "store"))):
            assert (said := meet(lambda: None, act, top, good)) == "accepted", said  # what nobody has touched
        return [(name, meet(make, act, top, good)) for name, make, act in hostile(top) if some(name)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--flips", type=int, default=240)
    parser.add_argument("--configs", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--probes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    done, runs, lost, torn = kills(args.kills, rng)
    print(f"killed at random moments: {done} times in {runs} runs ({torn} kills left a half-written file); {lost} runs lost", flush=True)
    counts = flips(args.flips, rng)
    for name, (n, noticed, gone) in counts.items():
        print(f"  {name}: {noticed} of {n} noticed, {gone} runs lost")
    n, noticed, gone = (sum(o) for o in zip(*counts.values()))
    print(f"damaged files: {noticed} of {n} noticed; {gone} runs lost", flush=True)
    met = attacks()
    for name, said in met:
        if said != "refused":
            print(f"  {name}: {said}")
    print(f"hostile files: {sum(said == 'refused' for _, said in met)} of {len(met)} refused", flush=True)
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from test_properties import fuzz_configs
    trained, refused = fuzz_configs(args.configs)
    print(f"generated configs: {trained} trained, {refused} were refused with GrokError, none did anything else")
    wrong = report(args.calls, args.probes, args.seed)
    sys.exit(bool(lost or gone or noticed < n or wrong or any(said != "refused" for _, said in met)))
