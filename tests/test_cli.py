"The command line as a user meets it: real processes, Ctrl-C, and going on."
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from grok_nb.files import read_csv
from grok_nb.training.run import load_run
from grok_nb.training.history import same_history

TINY = "run --task add --p 11 --train-frac 0.5 --method noise+abelian --steps 1500 --quiet".split()
SIZES = ["--set", "d_model=16", "--set", "d_mlp=32", "--set", "log_every=50", "--set", "stop_factor=0"]


def grok_nb(*words, **kwargs):
    "Run the command in a process of its own."
    command = [sys.executable, "-m", "grok_nb.cli", *map(str, words)]
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


def test_ctrl_c_stops_after_the_step_and_the_same_command_goes_on(tmp_path, undisturbed):
    folder = tmp_path / "run"
    process = grok_nb(*TINY, *SIZES, "--out", folder)
    while not (folder / "config.json").exists():
        assert process.poll() is None, finish(process)
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 1 and "interrupted" in out and "again to go on" in err, (code, out, err)
    part = read_csv(folder / "history.csv.gz")
    code, out, err = finish(grok_nb(*TINY, *SIZES, "--out", folder))
    assert code == 0, err
    whole, rest = (read_csv(f / "history.csv.gz") for f in (undisturbed, folder))
    assert len(part) < len(rest) and same_history(whole, rest)


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


def test_demo_prints_its_table_and_saves_its_figure(tmp_path):
    code, out, err = finish(grok_nb("demo", "--steps", 60, "--quiet", "--out", tmp_path / "figures" / "demo.png"))
    assert code == 0, err
    assert all(word in out for word in ("standard", "our_noise", "abelian", "95 % test", "one seed"))
    assert (tmp_path / "figures" / "demo.png").read_bytes()[:4] == b"\x89PNG"
