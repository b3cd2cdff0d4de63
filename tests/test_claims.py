"The verdicts follow from the shipped tables and the plan: other numbers, other seeds, other margins, other verdicts."
import csv
import gzip
import hashlib
import json
import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch


from grok_nb.claims.claims import CLAIMS, claim_parts, claims, show_claims
from grok_nb.claims.networks import PARTS, delay_grid
from grok_nb.claims.plan import PLAN
from grok_nb.claims.statistics import SETTINGS
from grok_nb.errors import GrokError
from grok_nb.runs.table import SHIPPED, make_table, results, ship

COUNTED = ("C1", "C2", "C7", "C9", "C13")  # those that are judged a second time below, without the package


# A whole set of tables, made up, since a real one takes core-days: every run of the plan, with curves of a known shape.

def curve(steps, at, width):
    return 1 / (1 + np.exp(-np.clip((steps - at) / width, -50, 50)))


def made_run(config, kind, scale, rng, speed):
    "A history: fitted at 150 (MNIST 1,500), grown up to its grok, which a method brings on by a factor."
    unit, end = (10, 50_000) if kind == "mnist" else (1, 12_000)
    steps = np.arange(0, end + 1, 50 * unit)
    wide = .3 if kind == "p59" else .1
    grok = 2000 * unit * scale * np.exp(wide * rng.standard_normal()) / speed[config.method]
    test = curve(steps, grok, 60 * unit)
    mirrored = curve(steps, grok * (.4 if config.method == "noise" else .9), 60 * unit)
    rows = {"step": steps, "train/acc": (steps >= 150 * unit) * 1., "train/loss": 1., "test/loss": 1.,
            "test/acc": test if kind == "mnist" else .4 * np.maximum(mirrored, test) + .6 * test,
            "norm/l2": 20 + 30 * np.exp(-steps / (.5 * grok))}
    if kind != "mnist":
        rows |= {"test/acc_mirrored": np.maximum(mirrored, test), "test/acc_unmirrored": test, "logit_distance": 1 - test + .001,
                 "law/commutativity/train": mirrored, "law/commutativity/train_unmirrored": mirrored}
    if config.probes:
        seen = np.where(steps % (100 * unit) == 0, 1., np.nan)
        rows |= {"perturbation_error": seen * (1 + 2 * test) * np.exp(.05 * rng.standard_normal(len(steps))),
                 "sharpness": seen * (100 - 99 * test), "pmi/logits:label": seen * test}
        names = ("pmi/act1:act2", "pe/act2") if kind == "mnist" else ("pmi/embed:resid_post", "pe/resid_post")
        rows |= {name: seen * curve(steps, grok * 1.1, 90 * unit) for name in names}
        if kind == "mnist":
            rows |= {"input_gradient": seen, "lemma/l2": seen * 50, "bound/l2": seen * 0, "bound/l1": seen * 0}
    return pd.DataFrame(rows)


def make_tables(folder, speed, slow=1.):
    "Write the three tables of the plan, made up."
    for kind, setting in SETTINGS.items():
        if kind not in ("p59", "p113", "mnist"):
            continue
        configs, rng = {c.hash: c for c in setting.planned()}, np.random.default_rng(len(kind))
        scales = {seed: slow * np.exp(.5 * rng.standard_normal()) for seed in {c.seed for c in configs.values()}}
        histories = {h: made_run(c, kind, scales[c.seed], rng, speed) for h, c in configs.items()}
        table = make_table(histories, configs, {h: dict(status="done", seconds=1.) for h in configs})
        hashes = [h for h, c in configs.items() if c.method == "standard"]
        errors = pd.DataFrame({"hash": hashes, "radius": .1, "steps": .2, "norm": np.linspace(.09, .12, len(hashes))})
        ship(table, setting.table, folder, extras={"radius": errors} if kind == "p59" else None)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "Methods that differ clearly."
    return make_tables(tmp_path_factory.mktemp("made"), {"standard": 1, "noise": 1.5, "abelian": 2.4})


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    "Methods that differ little, and a third of the runs end before they grok."
    return make_tables(tmp_path_factory.mktemp("alike"), {"standard": 1, "noise": 1.02, "abelian": 1.2}, slow=4.)


def reading(folder):
    return lambda name: results(name, folder) if name in results(folder=folder) else None


def copied(made, tmp_path):
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def words(name, folder, **more):
    parts = claim_parts(name, reading(folder), **more)
    return list(parts.loc[parts["table"].str.startswith("fresh"), "part"])


def rewritten(path, change):
    "Change the rows of a shipped history, each a dict of texts, in place."
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with gzip.open(path, "wt", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        out.writerows(rows)


# ---------------------------------------------------------------------------------------------------------------------

def seconds(count):
    "So many seconds of a core that adds up a million squares in a twentieth of one; more of a slower one, or a busy one."
    start = time.process_time()
    sum(i * i for i in range(1_000_000))
    return count * max(1., (time.process_time() - start) / .05)


def timed_claims():
    "(table, seconds of the processor) of the faster of two calls, without what torch loads with the first optimiser."
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    took = []
    for _ in range(2):
        start = time.process_time()
        table = claims()
        took.append(time.process_time() - start)
    return table, min(took)


def test_one_row_a_claim_within_seconds():
    table, took = timed_claims()
    assert took < seconds(3)
    assert list(table["claim"]) == list(CLAIMS)
    assert len(show_claims(table).splitlines()) == len(CLAIMS)
    assert set(claims("c9")["claim"]) == {"C9"}


def test_a_whole_set_of_tables_within_seconds(made, monkeypatch):
    monkeypatch.setattr("grok_nb.claims.statistics.results", lambda name=None: results(name, made))
    table, took = timed_claims()
    table = table.set_index("claim")
    assert took < seconds(3)
    planned = {part.claim for part in PARTS} - {part.claim for part in PARTS if not set(part.runs) <= {"p59", "p113", "mnist"}}
    assert not (table.loc[sorted(planned), "verdict"] == "not run").any(), table["verdict"]
    assert table.loc["C3", "verdict"] == "checked"
    assert table.loc[["C8", "C9"], "verdict"].tolist() == ["does not hold", "holds"]


def test_a_verdict_rests_on_the_seeds_of_the_plan(made):
    "Of what ships, and of a whole set: the seeds used are those planned, or there is no verdict."
    planned = {"p = 59": range(8, 32), "p = 113": range(8, 20), "MNIST": range(8, 20)}
    watched = ("norm", "perturbation", "sharpness", "|log|", "P(eps")
    for folder in (made, SHIPPED):
        for name in CLAIMS:
            for row in claim_parts(name, reading(folder)).itertuples():
                where = row.statistic.split(":")[0]
                if where not in planned:
                    continue
                eight = where == "p = 113" and any(word in row.statistic for word in watched)
                seeds = list(range(8, 16)) if eight else list(planned[where])
                assert row.planned == len(seeds) and set(row.seeds) <= set(seeds)
                assert (row.part == "not run") == (list(row.seeds) != seeds), row
                assert math.isnan(row.value) == (row.part == "not run")


def test_the_plan_is_the_committed_one():
    "A margin, a side, a threshold that is changed after the runs is no plan: these lines change only with a new one."
    def digest(parts):
        lines = "\n".join(repr((p.claim, p.statistic, p.runs, p.side, float(p.null), float(p.margin))) for p in parts)
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    assert digest(PLAN) == "a063d76fd67e97d9"
    assert digest(PARTS[len(PLAN):]) == "d4204a9ad74fef69"


def test_one_number(made, tmp_path):
    folder = copied(made, tmp_path)
    assert words("C3", folder) == ["checked"] and words("C4", folder) == ["says nothing here"]

    def change(rows):
        row = next(r for r in rows if r["run"] == "5" and r["input_gradient"])
        row["input_gradient"] = "51"  # the bound is 50

    rewritten(folder / "fresh_mnist_history.csv.gz", change)
    assert words("C3", folder) == ["does not hold"] and words("C4", folder) == ["says nothing here"]

    def change(rows):
        next(r for r in rows if r["run"] == "5" and r["bound/l2"])["bound/l2"] = "0.2"

    rewritten(folder / "fresh_mnist_history.csv.gz", change)
    assert words("C4", folder) == ["no difference"] and words("C6", folder) == ["says nothing here"]


def test_one_run_that_never_groks(made, tmp_path):
    "It is not left out: the estimate moves, and it counts."
    folder = copied(made, tmp_path)
    before = claim_parts("C9", reading(folder)).iloc[1]
    order = list(json.loads((folder / "fresh_p113_configs.json").read_text())["configs"])
    run = order.index(results("fresh_p113", folder).select(method="abelian", seed=8)["hash"].item())

    def change(rows):
        for r in rows:
            if r["run"] == str(run):
                r["test/acc"] = "0.5"

    rewritten(folder / "fresh_p113_history.csv.gz", change)
    after = claim_parts("C9", reading(folder)).iloc[1]
    assert after["n"] == before["n"] == 12 and after["low"] < before["low"] and after["part"] != "not run"


def test_one_seed(made, tmp_path):
    folder = copied(made, tmp_path)
    assert "not run" not in words("C9", folder)
    path = folder / "fresh_p59_configs.json"
    about = json.loads(path.read_text())
    mine = next(h for h, c in results("fresh_p59", folder).configs.items() if c.method == "abelian" and c.seed == 20)
    assert about["configs"][mine]["seed"] == 20
    about["configs"][mine]["seed"] = 7
    path.write_text(json.dumps(about))
    with pytest.raises(GrokError, match="has hash"):  # the name of a run is the hash of its settings
        claim_parts("C9", reading(folder))
    seventh = replace(results("fresh_p59", made).configs[mine], seed=7)  # and with the right name it is another run
    about["configs"] = {seventh.hash if h == mine else h: c for h, c in about["configs"].items()}
    path.write_text(json.dumps(about))
    parts = claim_parts("C9", reading(folder))
    assert list(parts["part"]) == ["not run", parts["part"][1]] and parts["part"][1] != "not run"
    assert 20 not in parts["seeds"][0] and 7 not in parts["seeds"][0] and parts["n"][0] == 23


def test_one_margin(made):
    assert words("C9", made)[1] == "holds"
    wide = tuple(replace(p, margin=3.) if p.claim == "C9" else p for p in PLAN)
    assert words("C9", made, plan=wide)[1] == "no difference"
    other = tuple(replace(p, side="below") if p.claim == "C9" else p for p in PLAN)
    assert words("C9", made, plan=other)[1] == "does not hold"


# The same verdicts a second time, from the raw files, with nothing of the package.

def raw(folder, name):
    "(method, seed) -> column -> array, of a shipped table."
    with (folder / f"{name}_summary.csv").open() as file:
        of = {r["hash"]: (r["method"], int(r["seed"])) for r in csv.DictReader(file)}
    order = list(json.loads((folder / f"{name}_configs.json").read_text())["configs"])
    with (folder / f"{name}_history.csv.gz").open("rb") as file:
        rows = csv.reader(gzip.open(file, "rt"))
        names, lines = next(rows), list(rows)
    run = names.index("run")
    runs = {}
    for line in lines:
        runs.setdefault(of[order[int(line[run])]], []).append([float(x) if x not in ("", "nan") else math.nan for x in line])
    return {key: dict(zip(names, np.array(part).T)) for key, part in runs.items()}


def held(h, column, level, hold):
    "First step from which a column is at a level for so many steps; inf: none."
    start = None
    for step, x in zip(h["step"], h[column]):
        if x >= level:
            start = step if start is None else start
            if step - start >= hold:
                return start
        else:
            start = None
    return math.inf


def over(a, b):
    return 1. if a == b == math.inf else a / b


def ended(h, column):
    late = h[column][h["step"] >= .9 * h["step"].max()]
    return np.median(late[~np.isnan(late)])


def quarter(h, column, level):
    fit = held(h, "train/acc", .99, 200)
    if held(h, "test/acc", level, 500) == math.inf:
        return math.inf
    keep = (h["step"] >= fit) & ~np.isnan(h[column])
    steps, x = h["step"][keep], h[column][keep]
    goal = x[0] + .25 * (ended(h, column) - x[0])
    sign = 1 if goal > x[0] else -1
    for k in range(1, len(x)):
        if sign * x[k] >= sign * goal:
            return steps[k - 1] + (goal - x[k - 1]) / (x[k] - x[k - 1]) * (steps[k] - steps[k - 1])


def first_from(h, column, step):
    return next(x for s, x in zip(h["step"], h[column]) if s >= step and not math.isnan(x))


def rests(h):
    gap = h["test/acc_mirrored"] - h["test/acc_unmirrored"]
    k = np.nanargmax(gap)
    if gap[k] <= 0:
        return 0., 0.
    share = (h["test/acc"][k] - h["test/acc_unmirrored"][k]) / gap[k]
    test = h["test/acc"][h["step"] <= held(h, "test/acc", .95, 500)]
    return np.mean(np.abs(test - share) <= .03), gap[k]


def delay(h):
    return held(h, "test/acc", .95 * np.median(h["test/acc"][h["step"] >= .9 * h["step"].max()]), 500) / held(h, "train/acc", .99, 200)


def changed(h, column, end):
    base, half = first_from(h, column, held(h, "train/acc", .99, 200)), held(h, "test/acc", .5, 0)
    if half == math.inf and not end:
        return math.inf
    return (ended(h, column) if end else first_from(h, column, half)) / base


LARGE, EIGHT, MANY = range(8, 20), range(8, 16), range(8, 32)
ALONE = {  # (claim, place) -> list of (function of the runs of a seed, methods, seeds, side, null, margin), in the plan's order
    "C1": [(lambda h, level: delay(h), "s", (MANY, LARGE, LARGE), 1, 1, 2),
           (lambda h, level: over(quarter(h, "norm/l2", level), quarter(h, "test/acc", level)), "s", (MANY, EIGHT, LARGE), -1, 1, 1.1)],
    "C2": [(lambda h, level, m=m, end=end: changed(h, m, end), "s", (MANY, EIGHT, LARGE), -1, 1, 1.1)
           for m in ("perturbation_error", "sharpness") for end in (False, True)],
    "C7": [(lambda a, b, level: over(held(a, "test/acc", level, 500), held(b, "test/acc", level, 500)), "sn", (MANY, LARGE, LARGE), 1, 1, 1.1)],
    "C9": [(lambda a, b, level: over(held(a, "test/acc", level, 500), held(b, "test/acc", level, 500)), "na", (MANY, LARGE), 1, 1, 1.1)],
    "C13": [(lambda a, b, level: rests(b)[0] - rests(a)[0], "sn", (MANY, LARGE), 1, 0, .05),
            (lambda h, level: rests(h)[1], "n", (MANY, LARGE), 1, .8, 1)],
}


def luck(n):
    "Probability that a random sum of ranks 1 to n is at most 0, 1, 2, ..."
    ways = np.array([1.])
    for rank in range(1, n + 1):
        ways = np.r_[ways, np.zeros(rank)] + np.r_[np.zeros(rank), ways]
    return np.cumsum(ways) / 2.**n


def judged(parts):
    "Words for [(effects on the claimed side, margin) or None], by Wilcoxon and Holm."
    def tail(x, edge):  # one-sided p-value of: the middle is above the edge
        with np.errstate(invalid="ignore"):
            below = sum(1 for i in range(len(x)) for j in range(i, len(x)) if not (x[i] + x[j]) / 2 > edge)
        return luck(len(x))[below]

    found = []
    for part in parts:
        if part is None:
            found.append((1., "not run"))
            continue
        x, margin = part
        flipped = [-v for v in x]
        inside = max(tail(x, -margin), tail(flipped, -margin))
        found.append(min((tail(x, margin), "holds"), (tail(flipped, margin), "does not hold"), (inside, "no difference")))
    left, out = len(parts), {}
    for i in sorted(range(len(parts)), key=lambda i: found[i][0]):
        p, word = found[i]
        out[i] = "not run" if parts[i] is None else word if p <= .05 / left / 2 else "undecided"
        left -= p <= .05 / left / 2
    return [out[i] for i in range(len(parts))]


def alone(folder, name):
    "A claim's words by the functions above."
    parts, letters = [], {"s": "standard", "n": "noise", "a": "abelian"}
    places = [("fresh_p59", (.95,)), ("fresh_p113", (.95,)), ("fresh_mnist", (.8, .85))]
    runs = {table: raw(folder, table) if (folder / f"{table}_summary.csv").is_file() else {} for table, _ in places}
    for f, methods, seeds, sign, null, margin in ALONE[name]:
        for (table, levels), own in zip(places, seeds):
            for level in levels if name == "C7" else levels[:1]:
                needed = [[(letters[m], seed) for m in methods] for seed in own]
                if not all(key in runs[table] for keys in needed for key in keys):
                    parts.append(None)
                    continue
                x = np.array([f(*(runs[table][key] for key in keys), level) for keys in needed])
                with np.errstate(divide="ignore"):
                    parts.append((sign * (np.log(x / null) if null else x), math.log(margin) if null else margin))
    return judged(parts)


@pytest.mark.parametrize("name", COUNTED)
def test_a_second_judge_says_the_same(name, made, alike):
    for folder in (made, alike, SHIPPED):
        assert alone(folder, name) == words(name, folder), folder


# The law of delay, the same way: least squares and cells drawn again, in plain numpy.

def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def slope_word(runs):
    "Word for [(lr, weight decay, steps or inf)]."
    cells = {}
    for lr, decay, steps in runs:
        cells.setdefault((lr, decay), []).append((lr * decay, steps))
    kept = [[o for o in cell if o[1] < math.inf] for cell in cells.values() if sum(o[1] < math.inf for o in cell) * 2 > len(cell)]
    rng, draws = np.random.default_rng(1), []
    for _ in range(2000):
        drawn = [o for k in rng.integers(len(kept), size=len(kept)) for o in kept[k]]
        draws.append(slope(*np.array(drawn).T))
    low, high = np.quantile(draws, [.025, .975])
    return "holds" if -1.1 < low and high < -.9 else "does not hold" if high < -1.1 or low > -.9 else "undecided"


def delay_rows(folder, name):
    "[(lr, weight decay, steps or inf)] from the raw files."
    with (folder / f"{name}_summary.csv").open() as file:
        return [(float(r.get("lr") or .001), float(r.get("weight_decay") or 1), float(r["test95"] or "inf")) for r in csv.DictReader(file)]


@pytest.mark.parametrize("power, spread", [(1., .2), (.7, .2), (1.05, .9)])
def test_a_second_judge_of_slopes_says_the_same(power, spread, tmp_path):
    configs = {c.hash: c for c in SETTINGS["add59"].planned()}
    rng = np.random.default_rng(0)
    shift = {speed: math.exp(spread * rng.standard_normal()) for speed in {(c.lr, c.weight_decay) for c in configs.values()}}
    histories = {}
    for h, c in configs.items():
        grok = 8 / (c.lr * c.weight_decay)**power * shift[c.lr, c.weight_decay] * math.exp(.1 * rng.standard_normal())
        grok = math.inf if c.weight_decay == 16 and c.seed % 2 else max(5, round(grok))
        steps = np.array([0, 1, 2, grok, grok + 300]) if grok < math.inf else np.array([0, 1, 2, 300, 600])
        histories[h] = pd.DataFrame({"step": steps, "train/acc": 1., "train/loss": 1., "test/loss": 1., "test/acc": (steps >= grok) * 1.})
    ship(make_table(histories, configs, {h: dict(status="done", seconds=1.) for h in configs}), "delay_add59", tmp_path)
    said = claim_parts("C16", reading(tmp_path)).set_index("table").loc["delay_add59"]
    assert said["part"] == slope_word(delay_rows(tmp_path, "delay_add59"))
    assert said["n"] == sum(c.weight_decay < 16 for c in configs.values())  # half of a cell is not more than half
    assert said["part"] == {1.: "holds", .7: "does not hold", 1.05: "undecided"}[power]


def test_slopes_that_ship():
    for row in claim_parts("C16").itertuples():
        if row.part in ("holds", "does not hold", "undecided"):
            assert row.part == slope_word(delay_rows(SHIPPED, row.table)), row.table


def test_the_grid_of_the_law():
    assert all(c.lr * c.weight_decay > .00099 for c in delay_grid([8])) and len(delay_grid([8])) == 29


def test_the_tables_above_are_no_easy_ones(made, alike):
    "All four answers are given, and some runs never grok."
    given = {word for folder in (made, alike) for name in COUNTED for word in words(name, folder)}
    assert given >= {"holds", "does not hold", "undecided"}, given
    assert results("fresh_p59", alike).summary["test95"].isna().mean() > .2
