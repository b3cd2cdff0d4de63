"Wrong arguments of public functions, probes and methods, a fixed sample; benchmarks/fuzz.py takes ten thousand of each."
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import fuzz  # noqa: E402
import fuzz_face  # noqa: E402

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc/self/statm").exists(), reason="needs fork and /proc")


@pytest.fixture(scope="module", autouse=True)
def warm():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    fuzz.warm_up()  # and every good argument is answered
    yield
    torch.set_num_threads(before)


def test_no_public_function_is_left_out():
    assert fuzz.missing() == []


def test_public_functions_refuse_what_is_wrong():
    found = fuzz.judged(fuzz.wrong_calls(1500, 1))
    assert len(found) == 1500 and fuzz.failures(found) == []
    assert sum(said == "answered" for _, said in found) > 30


def test_probes_refuse_what_is_wrong():
    found = fuzz.judged(fuzz.wrong_probes(600, 1))
    assert len(found) == 600 and fuzz.failures(found) == []


def test_methods_refuse_what_is_wrong():
    found = fuzz.judged(fuzz_face.wrong_methods(300, 1))
    assert len(found) == 300 and fuzz.failures(found) == []


def test_the_judge_sees_what_is_bad():
    def endless():
        while True:
            pass

    def big():
        return torch.zeros(1 << 28).sum()

    def bad(said):
        return "alloc" in said or "MB" in said

    calls = [("good", lambda: 1), ("raw", lambda: 1 / 0), ("endless", endless), ("big", big), ("ends", lambda: os._exit(0)), ("good", lambda: 2)]
    said = [s for _, s in fuzz.judged(calls)]
    assert said[0] == said[5] == "answered" and said[1].startswith("ZeroDivision") and said[2].startswith("Endless") and bad(said[3])
    assert said[4] == "hung, or ended the process"
    torch.empty(7 << 20)  # once freed, glibc takes what is no larger from its heap, and keeps it
    pieces = [torch.empty(1 << 22) for _ in range(140)]  # all of it is free in a moment, and below `last`
    last = [bytearray(10**5) for _ in range(50)]
    del pieces
    assert bad(fuzz.judged([("big", big)])[0][1]) and last
