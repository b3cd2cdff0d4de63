"The verdicts are computed from the shipped tables: other numbers, another verdict."
import shutil
import time
from pathlib import Path

import pandas as pd

from grok_nb.claims.claims import CLAIMS, claims
from grok_nb.runs.table import SHIPPED, results


def test_the_table_is_there_within_seconds():
    start = time.process_time()
    table = claims()
    assert time.process_time() - start < 5
    assert set(table.claim) == set(CLAIMS)


def test_a_changed_number_changes_the_verdict(tmp_path, monkeypatch):
    for path in Path(str(SHIPPED)).glob("three_methods_p113_*"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr("grok_nb.claims.claims.results", lambda name=None: results(name, tmp_path))
    monkeypatch.setattr("grok_nb.analysis.judge.SEEDS", 2)

    def verdict():
        table = claims("C9")
        return table.part[0], table.value[0]

    word, value = verdict()
    path = tmp_path / "three_methods_p113_summary.csv"
    summary = pd.read_csv(path)
    summary.loc[summary.method == "abelian", "test95"] *= 10
    summary.to_csv(path, index=False)
    changed, smaller = verdict()
    assert abs(smaller - value / 10) < 1e-9 and changed == "does not hold" != word
