"""What the tutorials say takes ten lines takes ten, imports counted, and needs nothing but these lines.

A cell that says `#| ten: TITLE` is such a one, with the cell of imports right before it. Each is run by itself, in an empty folder and after all names of the one
before it were forgotten; then what came of it is looked at.
"""
import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "nbs" / "tutorials").glob("*.ipynb"))
FORGET = """
for _name in [_k for _k in globals() if not _k.startswith("_") and _k not in ("In", "Out", "get_ipython", "exit", "quit")]:
    del globals()[_name]
"""
CHECKS = {  # title -> what must be true after the cell
    "three weight decays with five seeds each": """
        from grok_nb import time_table
        found = time_table(table)
        assert found["runs"].tolist() == [5]*3 and found.loc["weight decay 1", "reached"] == 5 and found["low"].notna().all()
        assert len(plot(table, by="weight_decay").axes) == 2""",
    "a two-layer decoder on division mod 97": """
        from grok_nb.training.network import task_of
        task = task_of(config)
        assert tuple(task.table.shape) == (97, 96) and config.batch_size*2 == len(task.x_train) and config.warmup > 1
        assert len(run.model.blocks) == 2 and config.norm == "before" and run.status == "done"
        assert run.history["train/loss"].iloc[-1] < run.history["train/loss"].iloc[0]""",
    "a quadratic MLP on one-hot pairs": """
        assert config.loss == "mse" and config.p == 97 and len(list(run.model.parameters())) == 2 # no bias
        assert run.history["test/acc"].iloc[-1] > .99 and run.history["test/acc"].iloc[5] < .05""",
    "sparse parity with SGD": """
        assert (config.task, config.optimizer, config.n_bits, config.k) == ("parity", "sgd", 40, 3)
        h = run.history
        assert h["test/acc"].iloc[-1] > .95 and h.loc[h["train/acc"] > .99, "test/acc"].iloc[0] < .6""",
    "Muon": """
        assert runs["Muon"].config.optimizer == "muon" and runs["Muon"].history["test/acc"].iloc[-1] > .95""",
    "probes on an LSTM": """
        assert isinstance(run.model.lstm, nn.LSTM) and run.history["sharpness"].notna().sum() == 5""",
    "probes on a CNN with BatchNorm and dropout": """
        kinds = {type(m) for m in net.modules()}
        assert {nn.BatchNorm2d, nn.Dropout, nn.Conv2d} <= kinds and {"pe/3", "pmi/3:6"} < set(reading)""",
    "probes on a TransformerLens model": """
        installed = find_spec("transformer_lens") is not None
        assert ("pe/blocks.0.hook_resid_post" in reading) == installed and ("not installed" in reading) != installed""",
    "a sweep of a model of your own on two processes": """
        assert len(table.configs) == 18 and set(table.summary["status"]) == {"done"}
        found = median_table(table, "lr", "weight_decay")
        assert found.shape == (2, 3) and found.loc[.02, 2.] < 600""",
    "a sweep of a model of your own on Dask": """
        import json
        from pathlib import Path
        assert len(table.configs) == 12 and set(table.summary["status"]) == {"done"}
        assert median_table(table, "lr", "weight_decay").loc[.02, 2.] < 600
        assert not [o for o in Path("runs/cluster").glob("*/sources.json") if "model beside" not in json.loads(o.read_text())]""",
    "noise, Grokfast and the orthogonal gradient in a plain loop": """
        loss = m.loss(sums.x_train, sums.y_train)
        assert 0 < loss < 2.5 and [type(o).__name__ for o in m.methods] == ["OurNoise", "Grokfast", "OrthogonalGradient"]""",
}


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
    assert sorted(title for path in TUTORIALS for title in ten(path)) == sorted(CHECKS)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_ten_lines(path):
    for title, (source, cell) in ten(path).items():
        assert len(lines(source)) <= 10 and max(map(len, source.splitlines())) <= 120, title
        assert not re.search(r";\s*\S", source), title  # two statements on a line
        assert not [o for o in cell["outputs"] if o["output_type"] == "error"], title


@pytest.mark.parametrize("path", [p for p in TUTORIALS if ten(p)], ids=lambda p: p.stem)
def test_they_run(path, tmp_path):
    cells = []
    for title, (source, cell) in ten(path).items():
        if "distributed" in source and not importlib.util.find_spec("distributed"):
            continue
        check = "\n".join(line.removeprefix(" " * 8) for line in CHECKS[title].splitlines())
        for text in (FORGET, source, f"{check}\nprint({title!r})"):
            cells.append({**cell, "id": f"ten{len(cells):05}", "outputs": [], "source": text})
    notebook, out = tmp_path / "ten.ipynb", tmp_path / "out.ipynb"
    notebook.write_text(json.dumps({**json.loads(path.read_text()), "cells": cells}))
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "run_notebook.py"), notebook.name, out.name], cwd=tmp_path,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{path.name}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
    said = "".join("".join(o.get("text", "")) for c in json.loads(out.read_text())["cells"] for o in c["outputs"])
    for title in ten(path):
        if "Dask" not in title or importlib.util.find_spec("distributed"):
            assert title in said  # it came to its end
