"Recipes: they ship with runs, seeds and verdicts, their pages say the same, and the quick version of some shows it."
import os
import re
from pathlib import Path

import matplotlib
import pytest

from grok_nb.claims.recipe import WORDS
from grok_nb.claims.recipes import RECIPES, recipes_table
from grok_nb.display.reproduce import Reproduced, recipe_text, run_recipe
from grok_nb.runs.table import results

matplotlib.use("Agg")
ROOT = Path(__file__).parent.parent
TABLE = results("recipes")


@pytest.mark.parametrize("r", RECIPES.values(), ids=list(RECIPES))
def test_it_ships_with_its_runs_and_says_where_its_settings_are_from(r):
    lacking = {c.hash for c in r.configs().values()} - set(TABLE.configs)
    assert not lacking, f"{len(lacking)} runs of {r.name} are of other settings than those that ship: run it again"
    assert r.seeds >= 3 and all(len(x) == r.seeds for x in r.values(TABLE).values())
    assert r.sources and r.differs and all(e.paper for e in r.expected)


def test_all_have_a_verdict():
    table = recipes_table()
    assert set(table["verdict"]) <= set(WORDS) - {"not run"} and (table["minutes"] > 0).all()


def test_nothing_ships_that_is_in_no_recipe():
    assert set(TABLE.configs) == {c.hash for r in RECIPES.values() for c in r.configs().values()}


def test_what_was_changed_with_the_answer_in_sight_is_said():
    text = {name: " ".join(r.changed) for name, r in RECIPES.items()}
    for name in ("liu_scale", "prieto_collapse", "kumar_lazy"):
        assert "on the same seeds" in text[name] and not RECIPES[name].first, name
        done = Reproduced(RECIPES[name], TABLE, False, None)
        assert text[name].partition(",")[0] in recipe_text(done), name
    for name, r in RECIPES.items():  # other seeds than the first six have a reason
        assert (r.first > 0) == (f"seeds {r.first} to " in text[name]), name


def test_each_has_a_page_that_shows_it():
    pages = {p.stem: p.read_text() for p in (ROOT / "nbs" / "recipes").glob("*.ipynb")}
    for r in RECIPES.values():
        assert f'shipped_recipe(\\"{r.name}\\")' in pages[r.page], r.name
    verdicts = dict(zip(recipes_table()["recipe"], recipes_table()["verdict"]))
    for name, verdict in verdicts.items():
        assert re.search(rf"\[{name}\].*\*\*{verdict}\*\*", pages["00_overview"]), name


def test_what_ships_is_small():
    files = list((ROOT / "grok_nb" / "results").glob("recipes_*"))
    assert len(files) == 3 and sum(f.stat().st_size for f in files) < 0.8e6


def quick(name, store):
    return run_recipe(RECIPES[name], quick=True, store=store, n_jobs=1, quiet=True)


def test_quick_shows_it_and_goes_on_where_it_was(tmp_path):
    done = quick("gromov_quadratic", tmp_path)
    assert done.verdict in ("reproduces", "in part"), done
    written = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/run.json")}
    assert len(written) == 3
    assert quick("gromov_quadratic", tmp_path).verdict == done.verdict
    assert written == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/run.json")}


@pytest.mark.skipif(not os.environ.get("GROK_NB_SLOW"), reason="takes minutes; set GROK_NB_SLOW")
@pytest.mark.parametrize("name", ["merrill_parity", "kumar_lazy", "power_decay", "nanda_progress"])
def test_quick_shows_it_too(name, tmp_path):
    assert quick(name, tmp_path).verdict in ("reproduces", "in part")
