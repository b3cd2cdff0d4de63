"""Two sweeps on one store, killed, stopped, halted and cut off from their disk at random: what comes of 200 short runs?

python benchmarks/storm.py [--minutes 10] [--runs 200] [--stack 1 4] [--seed 0]

For each size of stacks two sweeps of two workers each are started on one store, and every few seconds one of these six
processes gets SIGKILL, SIGTERM, SIGSTOP (and SIGCONT a moment later), or a disk on which no file can grow beyond 4 kB; a
sweep that has ended is started again. When all runs are done, or the time is up, a last sweep is left in peace. Then every
run must be done, have been stored once, and have the bits of a sweep that nobody disturbed; and no process, lock or
half-written file may be left. The package is copied first, so that what is edited meanwhile does not matter.
"""
import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

CODE = """
import sys, warnings
import torch
from grok_nb import grid, sweep
warnings.simplefilter("ignore")
def go(store, stack, runs, n_jobs, way):
    configs = grid(seed=range(runs // 4), method=["standard", "noise"], p=[7, 11], train_frac=.6, d_model=16, d_mlp=32, steps=150,
                   log_every=10, frames=5, stop_factor=0)
    return sweep(configs[::way], store, n_jobs=n_jobs, stack=stack, retry=True, quiet=True, save_every=.2)
"""
FILES = {"config.json", "history.csv.gz", "frames.npz", "run.json", "checkpoint.pt", "checkpoint.prev"}
SMALL = 4000  # bytes, of a file on a full disk


class Storm:
    "Two sweeps on one store, and what is done to them."
    def __init__(self, package, store, stack, runs, rng):
        self.package, self.store, self.stack, self.runs, self.rng = package, store, stack, runs, rng
        self.mark, self.met, self.later, self.stored, self.again = f"storm-{os.getpid()}-{stack}", Counter(), [], {}, set()
        self.sweeps = {}

    def start(self, way):
        call = f"go({str(self.store)!r}, {self.stack}, {self.runs}, 2, {way})"
        env = {**os.environ, "PYTHONPATH": str(self.package), "OMP_NUM_THREADS": "1", "STORM": self.mark}
        self.sweeps[way] = subprocess.Popen([sys.executable, "-c", CODE + call], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def processes(self):
        "Processes of the sweeps that are still there, workers among them."
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and f"STORM={self.mark}".encode() in (folder / "environ").read_bytes() \
                        and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                pass  # it has ended meanwhile, or is nobody's
        return found

    def disturb(self):
        "One blow to one of the processes."
        if not (there := self.processes()):
            return
        pid, kind = self.rng.choice(there), self.rng.choice(("KILL", "TERM", "STOP", "disk"))
        try:
            if kind == "disk":
                before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (SMALL, before[1]))
                self.later.append((time.monotonic() + 2, lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, before)))
            else:
                os.kill(pid, getattr(signal, f"SIG{kind}"))
                if kind == "STOP":
                    self.later.append((time.monotonic() + 2, lambda: os.kill(pid, signal.SIGCONT)))
            self.met[kind] += 1
        except (ProcessLookupError, PermissionError):
            pass  # it has just ended

    def end_blows(self, all_of_them=False):
        for o in [o for o in self.later if all_of_them or o[0] < time.monotonic()]:
            self.later.remove(o)
            try:
                o[1]()
            except (ProcessLookupError, PermissionError):
                pass

    def look(self):
        "How many runs are done; a run that was stored again is noted."
        for path in self.store.glob("[0-9a-f]*/run.json"):
            try:
                stamp = path.stat().st_ino, path.stat().st_mtime_ns
                if path.parent.name not in self.stored and json.loads(path.read_text())["status"] == "done":
                    self.stored[path.parent.name] = stamp
            except OSError:
                continue
            if self.stored.get(path.parent.name, stamp) != stamp:
                self.again.add(path.parent.name)
        return len(self.stored)

    def rage(self, seconds):
        "Until all runs are done, or the time is up."
        end, blow = time.monotonic() + seconds, time.monotonic() + 15
        for way in (1, -1):
            self.start(way)
        while time.monotonic() < end and self.look() < self.runs:
            time.sleep(.25)
            self.end_blows()
            for way, process in self.sweeps.items():
                if process.poll() is not None:
                    self.met["started again"] += 1
                    self.start(way)
            if time.monotonic() > blow:
                self.disturb()
                blow = time.monotonic() + self.rng.uniform(2, 12)
        self.end_blows(all_of_them=True)
        for process in self.sweeps.values():
            process.terminate()
            process.communicate()


def table(package, store, stack, runs, n_jobs=1):
    "What a sweep that is left in peace gives: hash -> digest of its history; statuses; problems."
    code = CODE + f"""
import hashlib, json
table = go({str(store)!r}, {stack}, {runs}, {n_jobs}, 1)
bits = {{h: hashlib.sha256(rows.drop(columns="hash").to_csv().encode()).hexdigest() for h, rows in table.history.groupby("hash")}}
print(json.dumps([bits, sorted(set(table.summary.status)), table.problems]))
"""
    env = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def storm(package, stack, runs, seconds, rng):
    "Lines of what is wrong, and what was done."
    with tempfile.TemporaryDirectory() as top:
        top = Path(top)
        bits, _, _ = table(package, top / "peace", stack, runs)
        it, rounds, done, met, wrong = None, 0, 0, Counter(), []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            it, rounds = Storm(package, top / f"store{rounds}", stack, runs, rng), rounds + 1
            it.rage(end - time.monotonic())
            until = time.monotonic() + 90
            while (left := it.processes()) and time.monotonic() < until:
                time.sleep(.5)
            before = it.look()
            found, statuses, problems = table(package, it.store, stack, runs)
            it.look()
            odd = {p.relative_to(it.store).as_posix() for p in it.store.rglob("*") if p.is_file() and not (p.name in FILES and p.parent.parent == it.store)}
            wrong += [f"stack {stack}, round {rounds}: {what}" for what, bad in {
                f"{len(left)} processes left": left, f"statuses {statuses}": statuses != ["done"], f"problems {problems[:3]}": problems,
                f"{sum(found.get(h) != b for h, b in bits.items())} runs with other bits": found != bits,
                f"{len(it.again)} runs stored again": it.again, f"files left: {sorted(odd)[:5]}": odd}.items() if bad]
            done, met = done + before, met + it.met
            shutil.rmtree(it.store)
    print(f"stack={stack}: {rounds} rounds of {runs} runs, {done} runs done in the storm; {dict(sorted(met.items()))}", flush=True)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--stack", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as package:
        shutil.copytree(Path(__file__).resolve().parent.parent / "grok_nb", Path(package) / "grok_nb", ignore=shutil.ignore_patterns("__pycache__"))
        for stack in args.stack:
            wrong += storm(Path(package), stack, args.runs, 60 * args.minutes / len(args.stack), random.Random(args.seed))
    print(*wrong or ["every run done, once, with the bits of a sweep in peace; no process, lock or file left"], sep="\n")
    sys.exit(bool(wrong))
