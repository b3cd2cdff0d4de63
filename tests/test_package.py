"The library is what the notebooks export, the README is what the index says, and a wheel holds all that a user needs."
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "A copy of the checkout, to be exported, cleaned and built in."
    to = tmp_path_factory.mktemp("copy") / "grok_nb"
    usual = shutil.ignore_patterns(".git", "*.egg-info", "build", "dist", "__pycache__", ".venv", ".pytest_cache")

    def leave(folder, names):  # runs/ at the top holds sweeps; nbs/runs and grok_nb/runs are rooms of the house
        return usual(folder, names) | ({"runs"} if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, to, ignore=leave, symlinks=True)
    return to


def run(*command, cwd):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # which would hide what is installed
    done = subprocess.run([str(o) for o in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def tool(name):
    "A command of the environment that the tests run in."
    return Path(sys.executable).parent / name


def test_library_and_notebooks_are_in_step(copy):
    run(tool("nbdev-export"), cwd=copy)
    names = {p.relative_to(folder / "grok_nb") for folder in (ROOT, copy) for p in (folder / "grok_nb").rglob("*.py")}
    differ = [str(n) for n in sorted(names) if not (ROOT / "grok_nb" / n).exists() or not (copy / "grok_nb" / n).exists()
              or (ROOT / "grok_nb" / n).read_bytes() != (copy / "grok_nb" / n).read_bytes()]
    assert not differ, f"nbdev-export changes {differ}: edit the notebooks, then run nbdev-export"


def test_notebooks_are_clean(copy):
    run(tool("nbdev-clean"), cwd=copy)
    names = [p.relative_to(ROOT / "nbs") for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    differ = [str(n) for n in names if (ROOT / "nbs" / n).read_bytes() != (copy / "nbs" / n).read_bytes()]
    assert not differ, f"nbdev-clean changes {differ}"


def test_readme_is_the_index(copy):
    run(sys.executable, ".ci/readme.py", cwd=copy)
    assert (copy / "README.md").read_text() == (ROOT / "README.md").read_text(), "run python .ci/readme.py"
    for picture in (copy / "nbs" / "images").iterdir():
        assert picture.read_bytes() == (ROOT / "nbs" / "images" / picture.name).read_bytes(), picture.name


def test_the_front_page_is_short():
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.S)
    words = [w for line in text.splitlines() if not line.startswith("|") for w in re.sub(r"\]\([^)]*\)", "]", line).split()]
    assert len(words) <= 900, len(words)


def test_one_version():
    cfg = ConfigParser(delimiters=["="], interpolation=None)
    cfg.read(ROOT / "settings.ini")
    version = cfg["DEFAULT"]["version"]
    assert f'__version__ = "{version}"' in (ROOT / "grok_nb" / "__init__.py").read_text()
    assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), re.M)


def test_wheel_installs_and_imports_elsewhere(copy, tmp_path):
    run(sys.executable, "-m", "build", "--no-isolation", "-o", tmp_path, ".", cwd=copy)  # the wheel is built from the sdist
    wheel, = tmp_path.glob("*.whl")
    sdist, = tmp_path.glob("*.tar.gz")
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "grok_nb").rglob("*.py")}
    data = {str(p.relative_to(ROOT)) for g in ("data/*", "results/*", "display/page.*", "cli/names.json") for p in (ROOT / "grok_nb").glob(g)}
    data -= modules
    assert modules | data == {n for n in inside if ".dist-info/" not in n}
    assert wheel.stat().st_size < 10e6  # of which the tables are eight
    with tarfile.open(sdist) as file:
        source = {n.partition("/")[2] for n in file.getnames() if not file.getmember(n).isdir()}
    rest = {"pyproject.toml", "setup.py", "settings.ini", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff"}
    assert modules | data | rest == {n for n in source if n not in ("PKG-INFO", "setup.cfg") and ".egg-info/" not in n}
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    there = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=tmp_path).strip()
    here = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=tmp_path).strip()
    (Path(there) / "dependencies.pth").write_text(here)
    said = run(python, "-c", "import grok_nb.__main__; print(grok_nb.__file__)", cwd=tmp_path)
    assert Path(said.strip()).is_relative_to(tmp_path), said
    assert "demo" in run(tmp_path / "venv" / "bin" / "grok_nb", "--help", cwd=tmp_path)
    offline = "import socket, sys\ndef no(*a): raise OSError('no network')\nsocket.socket.connect = socket.getaddrinfo = no\n"
    words = f"run --task mnist --steps 40 --set n_train=200 --set log_every=20 --quiet --out {tmp_path / 'digits'}".split()
    said = run(python, "-c", f"{offline}from grok_nb.__main__ import main\nsys.exit(main({words!r}))", cwd=tmp_path)
    assert "done" in said and (tmp_path / "digits" / "history.csv.gz").exists()
