"Every notebook runs from top to bottom, in a process of its own; two at a time."
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))


@pytest.fixture(scope="session")
def executions(tmp_path_factory):
    "Notebook name -> (exit code, what it said); run in a copy, so that nothing is written into the checkout."
    copy = tmp_path_factory.mktemp("site") / "nbs"
    shutil.copytree(ROOT / "nbs", copy)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}

    def execute(name):
        script = str(Path(__file__).parent / "run_notebook.py")
        done = subprocess.run([sys.executable, script, name, f"{name}.out"], cwd=copy, env=env, timeout=600,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    with ThreadPoolExecutor(2) as pool:
        return dict(zip([n.name for n in NOTEBOOKS], pool.map(execute, [n.name for n in NOTEBOOKS])))


@pytest.mark.parametrize("name", [n.name for n in NOTEBOOKS])
def test_notebook(name, executions):
    code, said = executions[name]
    assert code == 0, f"{name} failed\n{said[-6000:]}"
