"How the house is built: data flows one way through the wings, rooms are small, notebooks show what they define, lines are short."
import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WINGS = "errors reprs files registry tasks models methods measures training runs analysis claims display cli".split()
MODULES = sorted(p for p in (ROOT / "grok_nb").rglob("*.py") if p.name not in ("__init__.py", "_modidx.py"))


def house():
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci" / "house.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


HOUSE = house()
LIBRARY = HOUSE.library(ROOT)


def place(notebook):
    "Where a room stands in reading order: its wing, then its number."
    wing = notebook.parent.name if notebook.parent.name != "nbs" else HOUSE.room(notebook)
    return WINGS.index(wing), notebook.name


PLACE = {HOUSE.room(n): place(n) for n in LIBRARY}


def imported(path):
    "(module of grok_nb, names) for each import statement of a module, inside functions too."
    here = path.relative_to(ROOT / "grok_nb").with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = here[:len(here) - node.level] if node.level else ()
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if node.level or module.startswith("grok_nb"):
                yield module.removeprefix("grok_nb").strip("."), [a.name for a in node.names]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT / "grok_nb").as_posix())
def test_imports_go_one_way(path):
    here = ".".join(path.relative_to(ROOT / "grok_nb").with_suffix("").parts)
    for module, names in imported(path):
        for name in [module] if module in PLACE else [f"{module}.{n}".strip(".") for n in names]:
            if name in PLACE:
                assert PLACE[name] < PLACE[here], f"{here} imports {name}, which comes later"
        assert not [n for n in names if n.startswith("_") and n != "__version__"], f"{here} reaches into {module}: {names}"


@pytest.mark.parametrize("wing", sorted({n.parent for n in (ROOT / "nbs").rglob("*_*.ipynb") if ".ipynb_checkpoints" not in n.parts}),
                         ids=lambda p: p.name)
def test_rooms_are_numbered_through(wing):
    numbers = sorted(int(n.name.partition("_")[0]) for n in wing.glob("*_*.ipynb"))
    assert numbers == list(range(len(numbers)))


def test_every_module_has_its_notebook_and_is_small():
    assert {".".join(p.relative_to(ROOT / "grok_nb").with_suffix("").parts) for p in MODULES} == set(PLACE)
    sizes = {p.name: len(p.read_text().splitlines()) for p in MODULES}
    assert max(sizes.values()) <= 500, {k: v for k, v in sizes.items() if v > 500}


def test_a_name_is_defined_in_one_room():
    homes = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not any("patch" in ast.dump(d) for d in node.decorator_list):
                homes.setdefault(node.name, []).append(path.relative_to(ROOT / "grok_nb").as_posix())
    assert not {k: v for k, v in homes.items() if len(v) > 1}


def test_the_face_is_complete_and_costs_nothing():
    import grok_nb
    for name in grok_nb.__all__:
        assert getattr(grok_nb, name).__doc__ or name.isupper(), name
        assert name in dir(grok_nb)
    code = "import sys, time; t = time.perf_counter(); import grok_nb; print(time.perf_counter() - t, 'torch' in sys.modules)"
    seconds, torch = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert float(seconds) < 0.05 and torch == "False"
    with pytest.raises(AttributeError, match="dir"):
        grok_nb.fitt  # noqa: B018


def test_a_config_loads_no_more_than_it_needs():
    code = """import sys; from grok_nb import RunConfig; RunConfig(lr=2e-3, model="mlp", inputs="tied", optimizer="sgd")
print(*(k for k in ("torch._dynamo", "scipy.stats", "sklearn", "matplotlib", "ruptures") if k in sys.modules))"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_claims_is_a_wing_and_a_function():
    for code in ("from grok_nb import claims; print(len(claims('C9')))",
                 "import grok_nb.claims.claims; from grok_nb import claims; print(len(claims('C9')))",
                 "import grok_nb; print(len(grok_nb.claims('C9')))"):
        assert int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) > 0


def test_notebooks_show_what_they_define():
    rows = HOUSE.table(LIBRARY)
    median, most = HOUSE.spread(rows["all"]["exported"])
    assert median <= 10 and most <= 25, (median, most)
    assert rows["all"]["shown"] >= 0.7 * sum(rows["all"]["exported"])
    assert not {n: r["row"] for n, r in rows.items() if r["row"] > 2}
    assert not {n: max(r["exported"]) for n, r in rows.items() if max(r["exported"], default=0) > 45}


def test_titles_name_one_idea():
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        kind, source = HOUSE.cells(path)[0]
        title, _, rest = source.partition("\n")
        assert kind == "markdown" and re.match(r"# \S", title) and rest.strip().startswith("> "), path.name
        assert not re.search(r",.*\band\b|;", title), f"{path.name}: {title}"


def test_no_line_is_wide():
    wide = []
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        for kind, source in HOUSE.cells(path):
            wide += [f"{path.name}: {line[:60]}" for line in source.splitlines() if kind == "code" and len(line) > HOUSE.COLUMNS]
    assert not wide, "\n".join(wide)


def test_lint():
    ruff = Path(sys.executable).parent / "ruff"
    done = subprocess.run([ruff, "check", "--no-cache", "--output-format", "concise", "grok_nb", "nbs", "tests", "benchmarks", ".ci"],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
