"The command line as a user meets it: real processes, Ctrl-C, and going on."
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from grok_nb.cli.settings import arguments_of, names, registered_names
from grok_nb.files import read_csv
from grok_nb.runs.table import read_store
from grok_nb.training.config import RunConfig
from grok_nb.training.fit import fit
from grok_nb.training.run import load_run
from grok_nb.training.history import same_history

TINY = "run --task add --p 11 --train-frac 0.5 --method noise+abelian --steps 1500 --quiet".split()
SIZES = "--d-model 16 --d-mlp 32 --log-every 50 --set stop_factor=0".split()


def grok_nb(*words, **kwargs):
    "Run the command in a process of its own."
    command = [sys.executable, "-m", "grok_nb", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    code, _, err = finish(grok_nb(*TINY, *SIZES, "--out", folder))
    assert code == 0, err
    return folder


def press(process, when, group=False):
    "Ctrl-C, once something is there."
    stop = time.monotonic() + 120
    while not when():
        assert process.poll() is None and time.monotonic() < stop, finish(process)
        time.sleep(0.05)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    return finish(process)


def test_ctrl_c_stops_after_the_step_and_the_same_command_goes_on(tmp_path, undisturbed):
    folder = tmp_path / "run"
    words = [*TINY, *SIZES, "--out", folder]
    code, out, err = press(grok_nb(*words), lambda: (folder / ".lock").exists() and time.sleep(1) is None)
    assert code == 130 and not out and err.endswith("call again to go on\n") and len(err.splitlines()) == 1, (code, out, err)
    part = read_csv(folder / "history.csv.gz")
    code, out, err = finish(grok_nb(*words))
    assert code == 0 and ("done: " in out or "done, not grokked" in out), err
    whole, rest = (read_csv(f / "history.csv.gz") for f in (undisturbed, folder))
    assert len(part) < len(rest) and same_history(whole, rest)


@pytest.mark.parametrize("jobs,group", [(1, False), (2, False), (2, True)], ids=["alone", "processes", "terminal"])
def test_ctrl_c_ends_a_sweep_in_a_line_and_the_same_command_goes_on(tmp_path, jobs, group):
    """A terminal sends it to every process; `kill -INT` to the first alone."""
    sizes = dict(p=11, train_frac=.5, steps=500, d_model=16, d_mlp=32, log_every=20, stop_factor=0, frames=0)
    store, told = tmp_path / "store", tmp_path / "told"
    told.mkdir()
    words = ["sweep", "--grid", *(f"{k}={v}" for k, v in sizes.items()), "--seeds", "0-2", "--n-jobs", jobs, "--quiet", "--out", store]
    process = grok_nb(*words, start_new_session=True, env={**os.environ, "TMPDIR": str(told)})
    code, out, err = press(process, lambda: list(told.glob("*/*.step")), group)
    assert code == 130 and not out and len(err.splitlines()) == 1, (code, out, err)
    assert err.startswith("grok_nb sweep: ") and " of 3 runs are done in " in err and err.endswith("call again to go on\n")
    ends = [json.loads(p.read_text())["status"] for p in store.glob("*/run.json")]
    assert 1 <= ends.count("interrupted") <= jobs and not list(store.glob("*/.*.tmp"))
    if (jobs, group) == (2, False):
        return  # what is kept is that of the others
    code, out, err = finish(grok_nb(*words))
    assert code == 0 and "3 runs; 3 done" in out and not err, (out, err)
    alone = fit(RunConfig(**sizes), quiet=True)
    assert same_history(read_store(store).runs(seed=0)[0][list(alone.history)], alone.history)


def test_run_leaves_its_files(undisturbed):
    names = {"config.json", "history.csv.gz", "frames.npz", "run.json", "checkpoint.pt", "figure.png"}
    assert names <= set(os.listdir(undisturbed))
    about = json.loads((undisturbed / "run.json").read_text())
    assert about["status"] == "done" and about["environment"]["threads"] == 1
    assert load_run(undisturbed).config.method == "noise+abelian"


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path):
    code, out, err = finish(grok_nb("run", "--p", 1, "--out", tmp_path / "run"))
    assert code == 2 and len(err.strip().splitlines()) == 1 and "p = 1" in err
    assert not (tmp_path / "run").exists()


def test_names_are_those_of_the_registries():
    for kind, found in registered_names().items():
        assert {k: [about, arguments_of(kind)[k]] for k, about in names(kind).items()} == found, f"{kind}: run python .ci/names.py"


WRONG = {"rum": "did you mean run?", "run --wieght-decay 2": "did you mean --weight-decay?", "run --lr": "expected one argument",
         "run --method nosie": "Did you mean 'noise'?", "run --set lrr=3": "did you mean 'lr'?", "sweep tinny": "Did you mean 'tiny'?",
         "claims c99": "there are C1", "status nbs": "no run and no sweep", "demo --steps 0": "1 or more", "sweep tiny --seeds 0": "one number",
         "sweep tiny --seeds -1": "0 or more", "run --set task=": "NAME=VALUE", "demo -o a.xyz": "no picture", "": "required: command"}


def test_help_and_every_mistake_take_no_time(tmp_path):
    for words, wanted in {"--help": "usage", "--version": "0.1.0", "sweep --help": "--grid", **WRONG}.items():
        with subprocess.Popen([sys.executable, "-m", "grok_nb", *words.split()], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as process:
            said = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert wanted in said and used.ru_utime + used.ru_stime < 1, (words, said, used)
        assert process.returncode == (2 if words in WRONG else 0)
        assert words not in WRONG or len(said.splitlines()) == 1, said
    assert not os.listdir(tmp_path)


def test_output_fits_any_terminal(tmp_path):
    told = subprocess.run([sys.executable, "-m", "grok_nb", "list", "claims"], env={**os.environ, "PYTHONIOENCODING": "ascii"},
                          capture_output=True, text=True)
    assert told.returncode == 0 and "norm\\xb2" in told.stdout and not told.stderr
    command = f"{sys.executable} -m grok_nb list settings | head -1; exit ${{PIPESTATUS[0]}}"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert told.returncode in (0, 141) and told.stdout.count("\n") == 1 and not told.stderr
    code, _, err = finish(grok_nb("status", "a\x1b[31mb", cwd=tmp_path))
    assert code == 2 and "\x1b" not in err and "x1b[31mb" in err


def test_demo_prints_its_table_and_saves_its_figure(tmp_path):
    code, out, err = finish(grok_nb("demo", "--steps", 60, "--quiet", "--out", tmp_path / "figures" / "demo.png"))
    assert code == 0, err
    assert all(word in out for word in ("standard", "our_noise", "abelian", "95 % test", "one seed"))
    assert (tmp_path / "figures" / "demo.png").read_bytes()[:4] == b"\x89PNG"
