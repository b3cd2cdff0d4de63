"""Every notebook runs from top to bottom, in a process of its own, two at a time; and its outputs are up to date.

Committed outputs are compared with those of the execution, cell by cell. The same machine gives the same outputs to
the bit. Another kind of processor adds in another order, and the difference depends on what a cell does: statistics of
stored runs that come from curve fits were seen to differ by 0.2 %, the notebooks' other numbers by less than 1e-6, and
what follows float32 training by half its value. So words and whole numbers must be equal and decimals within 1 %, or
one in the last place shown. A cell that a stop-watch, rounding errors, or training decides says so in a line
`#| varies: timing`, `rounding` or `training`: there the words count, not the numbers nor the picture's pixels.
"""
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(p.relative_to(ROOT / "nbs").as_posix() for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
NUMBER = r"(?<![\w.])[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?"
PICTURE = 0.1  # mean difference of 255 levels: one more curve in a figure is 0.4, a curve moved by rounding below 0.01


@pytest.fixture(scope="session")
def executions(tmp_path_factory):
    "Notebook below nbs/ -> (exit code, what it said, file with outputs); each in its folder of a copy of the checkout."
    copy = tmp_path_factory.mktemp("site") / "nbs"
    shutil.copytree(ROOT / "nbs", copy)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    left, done = iter(NOTEBOOKS), {}

    def execute(_):
        with subprocess.Popen([sys.executable, Path(__file__).parent / "run_notebook.py"], env=env, text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            for name in left:
                path = copy / name
                out, said = (path.with_name(f"{path.name}.{end}") for end in ("out", "said"))
                server.stdin.write(json.dumps([str(path), str(out), str(said)]) + "\n")
                server.stdin.flush()
                done[name] = int(server.stdout.readline()), said.read_text(errors="replace"), out

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(execute, range(2)))
    return done


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name, executions):
    code, said, _ = executions[name]
    assert code == 0, f"{name} failed\n{said[-6000:]}"


def whole(text):
    "A notebook's text may be stored as a list of lines."
    return "".join(text)


def tidy(text):
    "Without what no two executions share (addresses, pandas' table ids), spacing, and a word that pandas 3 changed."
    text = re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"\bT_[0-9a-f]{5}", "T_", text))
    return re.sub(r"\s+", " ", re.sub(r"dtype: (object|str)", "dtype", text)).strip()


def close(a, b):
    "Whether two numbers, as written, are the same: whole ones equal, others within 1 % or one in the last place."
    if a == b:  # a hash may look like a number: 52e8825
        return True
    if not re.search(r"[.e]", a + b):
        return a.lstrip("+") == b.lstrip("+")
    x, y = float(a.replace(",", "")), float(b.replace(",", ""))
    digits, exponent = re.fullmatch(r"[^.e]*\.?(\d*)(?:e(.*))?", a).groups()
    last = 10.0 ** (int(exponent or 0) - len(digits))
    return abs(x - y) <= max(0.01 * max(abs(x), abs(y)), 1.001 * last)


def picture(data):
    return Image.open(io.BytesIO(base64.b64decode(whole(data))))


def outputs(cell):
    "(kind, content) of each output, joined where the cell printed in several goes."
    found = []
    for o in cell["outputs"]:
        if o["output_type"] == "stream":
            if found and found[-1][0] == o["name"]:
                found[-1] = (o["name"], found[-1][1] + whole(o["text"]))
            else:
                found.append((o["name"], whole(o["text"])))
        else:
            data = {k: whole(v) for k, v in o.get("data", {}).items() if isinstance(v, (str, list))}
            if "text/html" in data:  # the whole table; as text, each pandas leaves out other columns
                data.pop("text/plain", None)
            found += sorted(data.items())
    return [(kind, text) for kind, text in found if kind != "stderr"]


def stale(committed, fresh, varies=False):
    "What is wrong with a cell's committed outputs, or None."
    a, b = outputs(committed), outputs(fresh)
    if [kind for kind, _ in a] != [kind for kind, _ in b]:
        return f"it gives {[kind for kind, _ in b]}, not {[kind for kind, _ in a]}"
    for (kind, old), (_, new) in zip(a, b):
        if kind.startswith("image/"):
            one, two = picture(old), picture(new)
            maker = [re.findall(r"\d+\.\d+", str(o.info.get("Software"))) for o in (one, two)]
            if varies or maker[0] != maker[1]:  # another matplotlib sets type in another way
                continue
            if one.size != two.size:
                return f"the picture is {two.size}, not {one.size}"
            off = np.abs(np.asarray(one.convert("RGB"), float) - np.asarray(two.convert("RGB"), float)).mean()
            if off > PICTURE:
                return f"the picture differs by {off:.2f} of 255 levels"
            continue
        old, new = tidy(old), tidy(new)
        if varies:  # fewer or more rows, if training took another number of them
            words = [set(re.findall(r"[A-Za-z_]{2,}", re.sub(r"\bnan\b|\bNaN\b", "", o))) for o in (old, new)]
            if kind != "text/html" and words[0] != words[1]:
                return f"it says {' '.join(sorted(words[1] ^ words[0]))!r} differently:\n{old}\n{new}"
        elif re.sub(NUMBER, "0", old) != re.sub(NUMBER, "0", new):
            return f"text differs:\n{old}\n{new}"
        elif off := [(x, y) for x, y in zip(re.findall(NUMBER, old), re.findall(NUMBER, new)) if not close(x, y)]:
            return f"numbers differ: {off[:5]}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_are_current(name, executions):
    code, _, out = executions[name]
    if code:
        pytest.skip("it does not run")
    wrong = []
    for old, new in zip(*(json.loads(p.read_text())["cells"] for p in (ROOT / "nbs" / name, out)), strict=True):
        if old["cell_type"] == "code":
            varies = re.search(r"^#\| varies: (.*)$", whole(old["source"]), re.M)
            assert varies is None or varies[1] in ("timing", "rounding", "training"), varies[0]
            if problem := stale(old, new, bool(varies)):
                wrong.append(f"cell {old['id']}: {problem}")
    assert not wrong, "\n".join([f"{name} was changed, or what it shows was; in its folder run python tests/run_notebook.py "
                                 f"on it, then nbdev-clean", *wrong])


def printed(text):
    return {"outputs": [{"output_type": "stream", "name": "stdout", "text": text}]}


def drawn(y, size=(4, 3)):
    from matplotlib.figure import Figure
    figure, file = Figure(figsize=size), io.BytesIO()
    axes = figure.subplots()
    axes.plot(np.arange(50), y + np.sin(np.arange(50)))
    axes.set_ylim(-2, 2)  # chosen by itself, it may cross a pixel
    figure.savefig(file, format="png")
    return {"outputs": [{"output_type": "display_data", "data": {"image/png": base64.b64encode(file.getvalue()).decode()}}]}


@pytest.mark.parametrize("old,new,ok", [
    ("n = 8, 0.939 [0.883, 1.01]", "n = 8, 0.937 [0.883, 1.01]", True), ("n = 4", "n = 8", False), ("1.92", "1.98", False),
    ("2,325 steps", "2,300 steps", False), ("holds", "undecided", False), ("5e-07", "6e-07", True), ("0.5", "-0.5", False),
    ("x  1\n", "x 1", True), ("x", "", False), ("-0.000", "0.001", True), ("T_0a1b2_row0", "T_ffff0_row0", True),
    ("1.0 nan", "1.0 2.0", False)])
def test_what_counts_as_stale(old, new, ok):
    assert (stale(printed(old), printed(new)) is None) == ok


def test_what_counts_as_stale_where_numbers_vary():
    assert stale(printed("grokked at 750"), printed("grokked at 1,100"), True) is None
    assert "differently" in stale(printed("grokked at 750"), printed("fitted at 750"), True)


def test_which_pictures_count_as_stale():
    assert stale(drawn(0.0), drawn(0.0)) is None and stale(drawn(0.0), drawn(1e-4)) is None
    assert "differs by" in stale(drawn(0.0), drawn(np.linspace(0, 0.5, 50)))
    assert "the picture is" in stale(drawn(0.0), drawn(0.0, (4, 4)))
    assert "it gives" in stale(drawn(0.0), printed("x"))
