"What is typed at the prompt answers in a line, help explains each argument, and functions take what a user has in hand."
import inspect
import re

import matplotlib
import pandas as pd
import pytest

import grok_nb
from grok_nb import GrokError, RunConfig, fit, milestones, plot, plot_run, plot_seeds, results

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

SMALL = RunConfig(p=7, train_frac=0.6, d_model=16, d_mlp=32, lr=3e-3, steps=60, log_every=20, hold=20, frames=4)


@pytest.fixture(scope="module")
def run():
    return fit(SMALL, quiet=True)


@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close("all")


def answers(thing):
    "What a prompt and a notebook show of it; an embedded picture is not counted."
    yield repr(thing)
    if show := getattr(thing, "_repr_html_", None):
        yield re.sub(r"<svg.*?</svg>|<img[^>]*>", "", show(), flags=re.S)


def public(run):
    "One of each kind of object that the face's functions give."
    curve, table = run.history, results("tiny")
    yield from (run, run.config, run.model, table, results("tuning_p59"), grok_nb.slides(run), grok_nb.make_task("add", 7))
    yield from (grok_nb.transition(curve["step"], curve["test/acc"]), grok_nb.judge("speed-up", [2.0] * 8, above=1))
    yield from (grok_nb.results("noise_map_p59"), grok_nb.Probe({"name": "norms", "every": 20, "first": None, "last": None}))
    yield from (getattr(grok_nb, name) for name in grok_nb.__all__ if not callable(getattr(grok_nb, name)))
    for named in (grok_nb.CLAIMS, grok_nb.EXPERIMENTS):
        yield from named.values()
    yield from grok_nb.PLAN
    yield from (RunConfig(probes=["norms"] * 200), RunConfig(task="mnist", batch_size=200), SMALL)


def test_no_answer_is_long(run):
    seen = set()
    for thing in public(run):
        for text in answers(thing):
            assert len(text) <= 2000, (type(thing).__name__, len(text))
        assert "object at 0x" not in repr(thing), type(thing).__name__
        seen.add(type(thing).__name__)
    assert {"Run", "RunConfig", "Table", "Slides", "Task", "Transition", "Verdict", "Registry", "Experiment", "Claim", "Part"} <= seen


def test_a_run_and_a_table_have_pictures_in_a_notebook(run):
    assert run._repr_html_().count("<polyline") == 2 and "groks" in repr(run) or "does not grok" in repr(run)
    assert "<table>" in results("tiny")._repr_html_() and "data:image/png" in grok_nb.slides(run)._repr_html_()
    assert len(run._repr_html_()) < 5000


def test_a_config_shows_what_differs():
    assert repr(RunConfig()) == "RunConfig()"
    assert eval(repr(SMALL)) == SMALL and "betas" not in repr(SMALL)


@pytest.mark.parametrize("name", [n for n in grok_nb.__all__ if n not in ("GrokError", "claims", "tasks", "models", "methods")])
def test_help_explains_each_argument(name):
    thing = getattr(grok_nb, name)
    if inspect.isfunction(thing):
        said = inspect.getdoc(thing)
        for argument in inspect.signature(thing).parameters:
            assert re.search(rf"^    {argument}: \S", said, re.M), f"help({name}) says nothing of {argument}"
    elif inspect.isclass(thing):
        assert thing.__doc__


def test_lists_have_a_line_each():
    for name in "tasks models methods optimizers schedules losses probes experiments settings".split():
        table = getattr(grok_nb, name)()
        assert isinstance(table, pd.DataFrame) and len(table) and table.iloc[:, 0].str.len().gt(5).all(), name
    assert "noise" in grok_nb.methods().index and list(grok_nb.methods("no such thing").index) == []


def test_figures_take_runs_and_tables(run):
    assert len(plot_run(run).lines) == len(run.plot().lines) == 4
    assert plot_seeds(results("tiny")).get_legend().get_texts()
    assert len({line.get_color() for line in plot_seeds(results("tuning_p59"), by="weight_decay").lines}) == 7
    assert len(plot(results("tiny"), by="method").axes) == 2
    assert len(plot(run, run).lines) == 2
    shown = {key: milestones(o) for key, o in (("run", run), ("history", run.history))}
    assert repr(shown["run"]) == repr(shown["history"]) == repr(milestones(run, hold=20, levels=(0.95, 0.99)))
    assert grok_nb.compare(run, run)["speed-up"].size == 2


@pytest.mark.parametrize("call,said", [
    (lambda: fit({"p": 59}), "give a RunConfig, for example RunConfig(**settings)"),
    (lambda: fit("add"), "give a RunConfig"),
    (lambda: plot_run(results("tiny")), "plot(table) draws many runs"),
    (lambda: plot_run(SMALL), "give a run, as fit returns it"),
    (lambda: plot(SMALL), "train it first: plot(fit(config))"),
    (lambda: plot("nowhere"), "holds no run"),
    (lambda: plot_seeds(results("tiny"), by="metod"), "Did you mean 'method'?"),
    (lambda: grok_nb.compare(SMALL), "give runs, histories"),
], ids=range(8))
def test_what_is_wrong_is_said_in_a_line(call, said):
    with pytest.raises(GrokError) as e:
        call()
    assert said in str(e.value) and "\n" not in str(e.value)
    assert not plt.get_fignums()
