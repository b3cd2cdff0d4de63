"""Execute one notebook in a fresh shell and save it with its outputs: python run_notebook.py NOTEBOOK OUT

Run in a process of its own by test_notebooks.py. A failure names the notebook, the cell, and its source.
"""
import re
import sys
from pathlib import Path

from execnb.shell import CaptureShell
from fastcore.nbio import read_nb, write_nb


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


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
