"Kills, damage, a stranger's files, signals: what a week of runs must survive, in small. benchmarks/faults.py does more."
import os
import random
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from faults import KINDS, TINY, attacks, flips, kills  # noqa: E402

from grok_nb.errors import GrokError  # noqa: E402
from grok_nb.files import load_checkpoint, read_csv, save_checkpoint  # noqa: E402
from grok_nb.runs.sweep import grid, sweep  # noqa: E402
from grok_nb.training.loop import Training, train_loop  # noqa: E402
from grok_nb.training.run import environment, load_run  # noqa: E402
from grok_nb.training.fit import fit
from grok_nb.training.network import task_of  # noqa: E402
from grok_nb.training.config import RunConfig, paper_config
from grok_nb.training.history import same_history  # noqa: E402

forks = pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc/self/statm").exists(), reason="needs fork and /proc")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows_of(t, stop=None):
    "Train to a step, or to the end; the rows so far."
    train_loop(t, before=lambda t: t.step == stop)
    return t.rows[0]


MNIST = paper_config("mnist", "noise", steps=7, log_every=2, n_train=600, width=20, frames=3, stop_factor=0)


@pytest.mark.parametrize("config", [*(replace(c, steps=12, log_every=3) if not c.probes else replace(c, steps=30) for c in KINDS), MNIST],
                         ids=[*(c.method for c in KINDS), "mnist"])
def test_the_same_numbers_resumed_at_any_step(config, tmp_path):
    task = task_of(config)
    whole = rows_of(Training([config], tasks=[task]))
    for step in range(config.steps + 1):
        t = Training([config], tasks=[task])
        rows_of(t, step)
        save_checkpoint(tmp_path / "checkpoint.pt", t.state())
        t = Training([config], tasks=[task])
        t.load_state(load_checkpoint(tmp_path / "checkpoint.pt"))
        assert t.step == step and repr(rows_of(t)) == repr(whole)  # repr: a NaN is itself, and floats are told to the bit


def test_the_environment_of_a_run_is_complete():
    about = environment("cpu", 2)
    assert about["torch"] == torch.__version__ and about["threads"] == 2 and about["device"] == "cpu"
    assert all(about[k] for k in ("grok_nb", "numpy", "pandas", "python", "system", "machine", "cpu"))
    assert {"commit", "mkl", "gpu"} <= set(about)


@forks
def test_kills_at_random_moments():
    done, runs, lost, _ = kills(5, random.Random(1))
    assert done >= 5 and not lost


@forks
def test_damage_is_noticed_and_nothing_is_lost():
    for name, (n, noticed, lost) in flips(14, random.Random(1)).items():
        assert (noticed, lost) == (n, 0), name


@forks
def test_a_strangers_files_are_refused():
    met = attacks(lambda name: not name.endswith((", fit", ", store")) and (not name.startswith("config ") or int(name.split()[1][:-1]) % 4 == 0))
    assert len(met) > 60 and [o for o in met if o[1] != "refused"] == []


# Signals

LONG = """
import sys
from grok_nb import RunConfig, fit
config = RunConfig(p=11, train_frac=.5, d_model=16, d_mlp=32, steps=int(sys.argv[2]), log_every=10, frames=5, stop_factor=0)
run = fit(config, sys.argv[1], quiet=True, callbacks=[lambda t: t.step or print("under way", flush=True)])
print(run.status, len(run.history))
"""


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_the_run_goes_on(tmp_path, which):
    start = lambda: subprocess.Popen([sys.executable, "-c", LONG, str(tmp_path / "run"), "2000"], stdout=subprocess.PIPE,  # noqa: E731
                                     stderr=subprocess.PIPE, text=True)
    process = start()
    assert process.stdout.readline() == "under way\n"
    process.send_signal(which)
    out, err = process.communicate(timeout=120)
    assert process.returncode and not out and "kept in" in err.splitlines()[-1] and "call again to go on" in err, (out, err)
    part = load_run(tmp_path / "run")
    assert part.status == "interrupted" and len(part.history) >= 1
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert part.history["step"].iloc[-1] <= state["step"] < 2000


def test_ctrl_c_ends_a_sweep_and_keeps_its_run(tmp_path):
    configs = grid(seed=range(3), p=7, train_frac=.5, d_model=16, d_mlp=32, steps=100, log_every=10, frames=0, stop_factor=0)
    code = textwrap.dedent(f"""
        import os, signal
        import grok_nb.runs.sweep as s
        def interrupt(*args, before=s.fit, callbacks, **kwargs):
            return before(*args, callbacks=[*callbacks, lambda t: t.step == 50 and os.kill(os.getpid(), signal.SIGINT)], **kwargs)
        s.fit = interrupt
        configs = s.grid(seed=range(3), p=7, train_frac=.5, d_model=16, d_mlp=32, steps=100, log_every=10, frames=0, stop_factor=0)
        s.sweep(configs, {str(tmp_path)!r}, n_jobs=1, quiet=True)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode and "call again to go on" in done.stderr.splitlines()[-1], done.stderr
    assert len(list(tmp_path.glob("*/history.csv.gz"))) == 1 and len(read_csv(next(tmp_path.glob("*/history.csv.gz")))) == 6
    table = sweep(configs, tmp_path, n_jobs=1, quiet=True)
    assert (table.summary["status"] == "done").all() and same_history(table.runs(seed=0)[0][["train/loss"]], fit(configs[0], quiet=True).history[["train/loss"]])


def test_interrupt_in_jupyter(tmp_path):
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    said = []

    def run(code, during=lambda text: None):
        def hook(message):
            if message["msg_type"] in ("stream", "error"):
                said.append(message["content"].get("text") or f"{message['content']['ename']}: {message['content']['evalue']}")
                during(said[-1])
        return client.execute_interactive(code, output_hook=hook, timeout=120)["content"]["status"]

    try:
        stopped = run(f"import sys\nsys.argv = ['', {str(tmp_path / 'run')!r}, '4000']\n{LONG}", lambda text: "under way" in text and kernel.interrupt_kernel())
        assert stopped == "error" and said[-1].startswith("Interrupted: run ") and said[-1].endswith("call again to go on"), said
        assert not any(o.startswith("interrupted") for o in said)  # the cell's next line, which is not reached
        assert run("2 + 2") == "ok"  # the kernel is well
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    part = load_run(tmp_path / "run")
    assert part.status == "interrupted" and 1 <= len(part.history) < 401


def test_an_interrupt_before_the_first_row_leaves_a_run_that_goes_on(tmp_path):
    def at_once(t):
        raise AssertionError("no row was asked for")

    import grok_nb.training.fit as train
    before = train.train_loop
    try:
        train.train_loop = lambda t, *args: "interrupted"
        with pytest.warns(UserWarning, match="call fit again to go on"):
            fit(TINY, tmp_path / TINY.hash, quiet=True, callbacks=[at_once])
    finally:
        train.train_loop = before
    assert not len(load_run(tmp_path / TINY.hash).history)
    table = sweep([TINY], tmp_path, n_jobs=1, quiet=True)
    assert not table.problems and (table.summary["status"] == "done").all()


def test_files_of_a_killed_writer_are_cleared_away(tmp_path):
    fit(TINY, tmp_path / "run", quiet=True)
    (tmp_path / "run" / ".checkpoint.pt.999999.tmp").write_bytes(b"half")
    fit(TINY, tmp_path / "run", quiet=True)
    assert not list((tmp_path / "run").glob(".*"))


def test_a_run_without_checksums_still_loads(tmp_path):
    import json
    whole = fit(TINY, tmp_path / "run", quiet=True)
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(about.pop("sha256")) == {"config.json", "history.csv.gz", "frames.npz", "run.json"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    assert same_history(load_run(tmp_path / "run").history, whole.history)


def test_a_beta_of_zero_trains():
    whole = replace(TINY, steps=4, log_every=2, betas=(0, 0.98))
    assert whole == replace(whole, betas=(0.0, 0.98)) and whole.hash == replace(whole, betas=[0.0, 0.98]).hash
    assert fit(whole, quiet=True).status == "done"


def test_a_stranger_cannot_fill_the_memory_in_training(monkeypatch):
    monkeypatch.setattr("grok_nb.training.network.free_memory", lambda: 16e9)
    for change in (dict(d_mlp=10**6), dict(model="mlp", inputs="tied", d_model=16, depth=1, width=10**6, bias=False), dict(frames=10**6, steps=10**6, log_every=1)):
        with pytest.raises(GrokError, match="GB of memory and"):
            fit(RunConfig(**change), quiet=True)
