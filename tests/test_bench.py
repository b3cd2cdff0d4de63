"The benchmark is tuned alike for all, its rows are the plan's, and a stranger's file gets through or a clear answer."
import subprocess
import sys
from functools import partial

import pandas as pd
import pytest

from grok_nb.claims.bench import check_rows, gathered, next_runs
from grok_nb.claims.placings import COLUMNS, is_run, no_rows, part_of
from grok_nb.claims.tracks import (
    CUT, ENTRANTS, FINAL_SEEDS, POINTS, TRACKS, TUNING_SEEDS, Entrant, Range, Track, entrants_on, point, ranges, runs_at)
from grok_nb.errors import GrokError
from grok_nb.methods.registry import METHODS
from grok_nb.runs.sweep import sweep
from grok_nb.runs.table import Table

TINY = Track("add7", "for tests", dict(
    p=7, train_frac=.7, model="mlp", inputs="tied", join="sum", d_model=8, width=16, depth=1, lr=5e-3, weight_decay=1.,
    target=.3, hold=10, stop_factor=1., frames=0, log_every=10), 80, 40, .3, ("commutes", "softmax"))

MINE = '''
from grok_nb import Method

class Pull(Method):
    "Pulls all weights together."
    def __init__(self, strength:float=1e-4):
        self.strength = strength

    def penalty(self, logits, params, step):
        return self.strength*sum(w.square().reshape(len(w), -1).sum(1) for w in params.values())

SPACE = {"strength": (1e-6, 1e-2)}
'''


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def rows(store):
    "AdamW and Grokfast on a tiny track."
    runs = partial(sweep, store=store, n_jobs=1, stack=12, quiet=True)
    return gathered(TINY, [ENTRANTS["grokfast"]], runs)


@pytest.fixture
def mine(tmp_path):
    "A function that writes a file; what it registers is forgotten."
    before = dict(METHODS)

    def write(text):
        (tmp_path / "mine.py").write_text(text)
        return tmp_path / "mine.py"

    yield write
    for name in set(METHODS) - set(before): METHODS.pop(name)


def test_every_entrant_has_the_same_trials():
    for track in TRACKS.values():
        for entrant in entrants_on(track):
            tried = [point(track, entrant, i) for i in range(POINTS)]
            assert len({str(o) for o in tried}) == POINTS == 12, (track, entrant)
            for values in tried:
                assert set(values) == set(ranges(entrant))
                assert all(value in ranges(entrant)[k] for k, value in values.items()), (track, entrant, values)
            assert {"lr", "weight_decay"} <= set(tried[0]) and len(tried[0]) <= 4
    plain, other = (ranges(ENTRANTS[name]) for name in ("adamw", "noise"))
    assert all(plain[k] == other[k] for k in plain)  # one space for all that train with AdamW


def test_no_final_seed_is_tuned_on(rows):
    assert not set(TUNING_SEEDS) & set(FINAL_SEEDS)
    for name, own in rows.groupby("entrant"):
        tuning, final = part_of(own, phase="tuning"), part_of(own, phase="final")
        assert sorted(tuning["point"].unique()) == list(range(POINTS)), name
        assert (tuning.groupby("point")["seed"].apply(set) == set(TUNING_SEEDS)).all()
        assert set(final["seed"]) == set(FINAL_SEEDS) and final["point"].nunique() == 1


def test_trials_are_cut_off_by_what_came_before(rows):
    tuning = part_of(rows, entrant="adamw", phase="tuning")
    both = tuning.groupby("point")["grokked"].agg(["count", "max"])
    assert tuning["budget"].iloc[0] == TINY.budget + 10
    for i in range(1, POINTS):
        best = both[(both.index < i) & (both["count"] == 2)]["max"].min()
        if best == best: assert part_of(tuning, point=i)["budget"].max() <= CUT * best + 20


def test_rows_are_the_plans(rows):
    assert list(rows) == list(COLUMNS)
    for name in ("adamw", "grokfast"):
        assert is_run(TINY, ENTRANTS[name], rows) and next_runs(TINY, ENTRANTS[name], rows) is None
        assert not check_rows(TINY, ENTRANTS[name], rows)
    swapped = rows.assign(hash=rows["hash"].iloc[::-1].tolist())
    assert check_rows(TINY, ENTRANTS["adamw"], swapped)


def test_an_entrant_that_never_gets_there_has_no_final_runs(rows):
    known = part_of(rows, entrant="adamw")

    def never(configs):  # every run has ended without the target
        ends = dict(status="diverged at step 3", steps=3, seconds=.1, fit=float("nan"), grokked=float("nan"))
        return Table(None, pd.DataFrame([dict(hash=c.hash, **ends) for c in configs]), {})

    found = gathered(TINY, [ENTRANTS["l1"]], never, known)
    own = part_of(found, entrant="l1")
    assert own.groupby("phase").size().to_dict() == {"tuning": 24, "free": 4}
    assert is_run(TINY, ENTRANTS["l1"], found) and set(own["status"]) == {"diverged"}


def test_nobody_starts_before_adamw():
    with pytest.raises(GrokError, match="AdamW is not tuned on add7"):
        next_runs(TINY, ENTRANTS["l1"], no_rows())


def test_a_method_of_twelve_lines_goes_through(rows, store, mine):
    from grok_nb.claims.stranger import stand, stand_text
    assert len(MINE.strip().splitlines()) <= 12
    known = part_of(rows, entrant="adamw")
    table, name = stand(mine(MINE), TINY, store, known, n_jobs=1, stack=12, quiet=True)
    assert set(table["entrant"]) == {"adamw", "mine (yours)"} == {"adamw", name}
    text = stand_text(table, name, TINY)
    assert "place" in text or "does not get to the target" in text


def test_a_wrong_one_is_told(mine):
    from grok_nb.claims.stranger import entrant_from, three_steps
    with pytest.raises(GrokError, match="Did you mean 'penalty'"):
        entrant_from(mine(MINE.replace("def penalty", "def penalti")))
    with pytest.raises(GrokError, match=r"mine.py, line \d+:"):
        entrant_from(mine(MINE + "\nclass ("))
    with pytest.raises(GrokError, match="SPACE"):
        entrant_from(mine(MINE.replace('{"strength"', '{"width"')))
    with pytest.raises(GrokError, match="no number"):
        three_steps(mine(MINE.replace("self.strength*sum", "float('nan')*sum")), TINY)


@pytest.mark.parametrize("text,why", [
    (MINE + "\nwhile True: pass\n", "does not end"), (MINE.replace("def penalty", "def punish"), "fills in no hook")])
def test_a_file_is_tried_in_a_process_of_its_own(mine, text, why):
    from grok_nb.claims.stranger import check_alone
    with pytest.raises(GrokError, match=why): check_alone(mine(text), "add59", 20 if "hook" in why else 8)


def test_a_space_is_refused_that_is_none():
    for wrong in (dict(low=1., high=1.), dict(low=-1., high=1.), dict(low=.1, high=.2, kind="lin")):
        with pytest.raises(GrokError): Range(**wrong)
    with pytest.raises(GrokError, match="at most two"): Entrant("x", "", args=dict.fromkeys("abc", (.1, Range(.01, 1.))))
    config, = runs_at(TINY, ENTRANTS["muon"], point(TINY, ENTRANTS["muon"], 0), [100], 50)
    assert (config.optimizer, config.adamw_lr, config.lr) == ("muon", 1e-3, .02)


def test_the_command_lists_and_refuses():
    def said(*words):
        return subprocess.run([sys.executable, "-m", "grok_nb", "bench", *words], capture_output=True, text=True)
    assert "quadratic97" in said().stdout
    done = said("--track", "add95")
    assert done.returncode == 2 and "Did you mean 'add59'?" in done.stderr
