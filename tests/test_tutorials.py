"""What the tutorials say takes ten lines takes ten, imports counted, and needs nothing but these lines.

A cell that says `#| ten: TITLE` is such a one, with the cell of imports right before it: no name in it comes from
elsewhere, and a hidden cell after it looks at what came of it. Tutorials are executed as all notebooks are.
"""
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUFF = Path(sys.executable).parent / "ruff"
TUTORIALS = sorted((ROOT / "nbs" / "tutorials").glob("*.ipynb"))
TITLES = {  # what the tutorials promise
    "three weight decays with five seeds each", "a two-layer decoder on division mod 97", "a quadratic MLP on one-hot pairs",
    "sparse parity with SGD", "Muon", "probes on an LSTM", "probes on a CNN with BatchNorm and dropout",
    "probes on a TransformerLens model", "a sweep of a model of your own on two processes",
    "a sweep of a model of your own on Dask", "noise, Grokfast and the orthogonal gradient in a plain loop"}


def ten(path):
    "Title -> (source with its imports, cell) of the cells that are said to take ten lines."
    found, before = {}, ""
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if title := re.search(r"^#\| ten: (.+)$", source, re.M):
            assert title[1] not in found and cell["cell_type"] == "code" and lines(before), title[1]
            assert all(line.startswith(("import ", "from ")) for line in lines(before)), title[1]
            found[title[1]] = f"{source}\n".replace(title[0], f"{title[0]}\n{before}", 1), cell
        before = source if cell["cell_type"] == "code" else ""
    return found


def lines(source):
    "Lines of code; a comment on a line of its own is none."
    return [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_imports_have_cells_of_their_own():
    for path in TUTORIALS:
        for cell in json.loads(path.read_text())["cells"]:
            code = "\n".join(lines("".join(cell["source"]))) if cell["cell_type"] == "code" else ""
            kinds = {isinstance(o, (ast.Import, ast.ImportFrom)) for o in ast.parse(code).body}
            assert len(kinds) < 2, f"{path.name}: {code[:80]}"


def test_all_are_there():
    assert sorted(title for path in TUTORIALS for title in ten(path)) == sorted(TITLES)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_ten_lines(path):
    for title, (source, cell) in ten(path).items():
        assert len(lines(source)) <= 10 and max(map(len, source.splitlines())) <= 120, title
        assert not re.search(r";\s*\S", source), title  # two statements on a line
        assert not [o for o in cell["outputs"] if o["output_type"] == "error"], title


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_ten_lines_need_nothing_else(path):
    for title, (source, _) in ten(path).items():
        code = source.replace("%pip", "#")
        done = subprocess.run([RUFF, "check", "--isolated", "--no-cache", "--select", "F821,F811,E9", "-"], input=code, text=True,
                              capture_output=True)
        assert done.returncode == 0, f"{title}: {done.stdout}"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_what_came_of_ten_lines_is_looked_at(path):
    checked, last = set(), None
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if title := re.search(r"^#\| ten: (.+)$", source, re.M):
            last = title[1]
        elif not (cell["cell_type"] == "code" and source.startswith("#| hide")):
            last = None  # a check of what stands between is none of these lines
        elif last and "\nassert" in source:
            checked.add(last)
    assert checked == set(ten(path))
