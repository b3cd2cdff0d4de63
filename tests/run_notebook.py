"""Execute one notebook in a fresh shell and save it with its outputs: python run_notebook.py NOTEBOOK OUT

A failure names the notebook, the cell, and its source. Without arguments it does the notebooks that lines of its input
name, each in a process of its own, forked from this one, which has loaded the large libraries once.
"""
import importlib
import json
import os
import re
import signal
import sys
from pathlib import Path

from execnb.shell import CaptureShell
from fastcore.nbio import read_nb, write_nb

# What most notebooks import and none changes.
LIBRARIES = ["torch", "torch._dynamo", "pandas", "scipy.stats", "scipy.optimize", "sklearn.linear_model", "matplotlib.pyplot",
             "ruptures", "ipywidgets", "joblib", "cloudpickle", "tqdm.auto", "fastcore.test", "IPython.display", "execnb.shell"]


def main(notebook, out):
    "Run every code cell that is not marked `#| eval: false`."
    nb, shell = read_nb(notebook), CaptureShell(notebook)
    for i, cell in enumerate(nb.cells):
        if cell.cell_type != "code" or re.search(r"^#\|\s*eval:\s*false", cell.source, re.M):
            continue
        shell.cell(cell)
        if shell.exc:
            print(f"{Path(notebook).name}, cell {i} (id {cell.get('id')}) failed:\n\n{cell.source}\n\n{shell.prettytb()}")
            return 1
    write_nb(nb, out)
    return 0


def forked(notebook, out, said):
    "Execute a notebook in its folder, in a process of its own; what it prints goes into a file. Its exit code."
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.alarm(600)
    os.chdir(Path(notebook).parent)
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, target in ((os.open(os.devnull, os.O_RDONLY), 0), (file, 1), (file, 2)):
        os.dup2(stream, target)
    code = main(Path(notebook).name, out)
    sys.stdout.flush()
    os._exit(code)


def serve():
    "A line [notebook, out, said] in, its exit code out."
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        print(forked(*json.loads(line)), flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if sys.argv[1:] else serve())
