"A sweep that is killed, doubled, cut off from its disk, or sent to a cluster gives the same table."
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from grok_nb.claims.experiments import experiment
from grok_nb.runs.table import join, make_table, read_store, results
from grok_nb.runs.sweep import sweep
from grok_nb.training.history import same_history
from grok_nb.training.run import is_done

CONFIGS = """
from grok_nb.runs.sweep import grid, sweep
configs = grid(seed=range(3), method=["standard", "noise"], p=13, train_frac=.5, d_model=32, d_mlp=64, steps=200,
               log_every=25, frames=20, stop_factor=0)
"""
exec(CONFIGS)


def start(code, **kwargs):
    "A script in a process of its own, in a group of its own."
    code = CONFIGS + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)


def end(process, expected=0):
    said, _ = process.communicate(timeout=240)
    assert process.returncode == expected, said
    return said


def running(store):
    "Whether a checkpoint has been written: a run is well under way."
    return list(Path(store).glob("*/checkpoint.pt"))


def wait_for(condition, process=None, seconds=120):
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, "waited in vain"
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def workers(parent):
    "Process ids of joblib's workers under a process."
    out = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "stat").read_text().rsplit(")", 1)[1].split()[1] == str(parent):
                if b"loky" in (folder / "cmdline").read_bytes() and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                    out.append(int(folder.name))
        except OSError:
            pass  # it has ended meanwhile
    return out


def alive(pid):
    "Whether a process runs: one that has ended and that nobody has asked about does not."
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return sweep(configs, tmp_path_factory.mktemp("undisturbed") / "store", n_jobs=1, quiet=True)  # noqa: F821


def whole(store, undisturbed):
    "The store's table is the undisturbed one, and nothing half written is in it."
    table = read_store(store)
    assert not table.problems and (table.summary.status == "done").all()
    order = lambda t: t.history.sort_values(["seed", "method", "step"])  # noqa: E731
    assert same_history(order(table), order(undisturbed))
    for folder in (Path(store) / c for c in table.configs):
        assert not [p for p in folder.iterdir() if p.name not in ("config.json", "history.csv.gz", "frames.npz", "run.json",
                    "checkpoint.pt", "checkpoint.prev") and not p.name.endswith(".tmp")]


def test_a_killed_worker_is_replaced(tmp_path, undisturbed):
    process = start(f"sweep(configs, {str(tmp_path)!r}, n_jobs=2, save_every=.1)")
    wait_for(lambda: running(tmp_path), process)
    wait_for(lambda: workers(process.pid), process)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    said = end(process)
    assert "a worker was killed" in said
    whole(tmp_path, undisturbed)


def test_a_killed_sweep_goes_on(tmp_path, undisturbed):
    process = start(f"sweep(configs, {str(tmp_path)!r}, n_jobs=2, save_every=.1)")
    wait_for(lambda: len(list(tmp_path.glob("*/run.json"))) >= 2, process)
    orphans = workers(process.pid)
    process.kill()
    process.wait()
    assert orphans
    wait_for(lambda: not any(map(alive, orphans)), seconds=60)
    finished = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/run.json") if is_done(p.parent)}
    sweep(configs, tmp_path, n_jobs=2, quiet=True)  # noqa: F821
    assert finished and all(p.stat().st_mtime_ns == t for p, t in finished.items())
    whole(tmp_path, undisturbed)


@pytest.mark.parametrize("call,moment", [("fsync", 8), ("replace", 11), ("replace", 14)])
def test_killed_in_mid_write(tmp_path, undisturbed, call, moment):
    process = start(f"""
        import os, signal
        before, calls = os.{call}, 0
        def {call}(*args):
            global calls
            calls += 1
            if calls == {moment}: os.kill(os.getpid(), signal.SIGKILL)
            return before(*args)
        os.{call} = {call}
        sweep(configs, {str(tmp_path)!r}, n_jobs=1, quiet=True, save_every=.05)
    """)
    end(process, -signal.SIGKILL)
    sweep(configs, tmp_path, n_jobs=1, quiet=True)  # noqa: F821
    whole(tmp_path, undisturbed)


def test_two_sweeps_on_one_store(tmp_path, undisturbed):
    code = f"""
        import grok_nb.runs.sweep as s
        before = s.fit
        def fit(config, out, **kwargs):
            with open({str(tmp_path / "log.txt")!r}, "a") as f: f.write(config.hash + "\\n")
            return before(config, out, **kwargs)
        s.fit = fit
        s.sweep(configs, {str(tmp_path / "store")!r}, n_jobs=1, quiet=True)
    """
    both = [start(code), start(code)]
    for process in both:
        end(process)
    done = (tmp_path / "log.txt").read_text().split()
    assert sorted(done) == sorted(c.hash for c in configs)  # noqa: F821
    whole(tmp_path / "store", undisturbed)


def test_two_stacked_sweeps_that_list_their_runs_the_other_way_round(tmp_path):
    """Neither waits for the other for ever, and each run is done."""
    code = """
        some = [c for c in configs if c.method == "standard"]
        print(set(sweep(some[::{}], {!r}, n_jobs=1, stack=3, quiet=True).summary.status))
    """
    both = [start(code.format(way, str(tmp_path))) for way in (1, -1)]
    assert [end(process).strip() for process in both] == ["{'done'}"] * 2
    assert not [p for folder in (".stacks", ".errors") for p in (tmp_path / folder).iterdir()]
    assert {p.name for p in tmp_path.glob("*/*")} == {"config.json", "history.csv.gz", "frames.npz", "run.json", "checkpoint.pt"}


def test_a_run_that_kills_its_workers_is_given_up_and_the_rest_is_done(tmp_path):
    said = end(start(f"""
        import os, signal
        import grok_nb.runs.sweep as s
        from grok_nb.methods.method import Method
        from grok_nb.methods.registry import METHODS
        class Deadly(Method):
            def loss(self, losses, logits, labels): os.kill(os.getpid(), signal.SIGKILL)
        METHODS["deadly"], s.LOSSES = Deadly, 2 # it is three, which takes longer
        some = grid(method=["deadly", "standard"], seed=range(2), p=7, train_frac=.6, d_model=8, d_mlp=16, steps=20, frames=0)
        for i in range(2): print("found:", *sweep(some[1:], {str(tmp_path)!r}, n_jobs=2, quiet=True).summary.status, sep="|")
    """))
    first, again = (line for line in said.splitlines() if line.startswith("found:"))
    assert first == again and said.count("a worker was killed while it was at") == 2  # not tried again
    assert first.startswith("found:|failed: GrokError: the process that trained it was killed 2 times") and "retry=True" in first
    assert first.endswith("|done|done")


def test_a_full_disk_is_a_clear_error(tmp_path, undisturbed):
    sweep(configs[:2], tmp_path, n_jobs=1, quiet=True)  # noqa: F821
    finished = {p: p.read_bytes() for p in tmp_path.glob("*/history.csv.gz")}
    said = end(start(f"""
        import resource
        from grok_nb.errors import GrokError
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)) # files can grow no further, as on a full disk
        try: sweep(configs, {str(tmp_path)!r}, n_jobs=1, quiet=True)
        except GrokError as e: print("said:", e)
    """))
    assert "said: cannot write in" in said and "every finished run there is whole" in said
    assert finished and all(p.read_bytes() == data for p, data in finished.items())
    assert not list(tmp_path.glob("*/*.tmp"))
    sweep(configs, tmp_path, n_jobs=1, quiet=True)  # noqa: F821
    whole(tmp_path, undisturbed)


def test_a_folder_that_cannot_be_written_to():
    with pytest.raises(Exception, match="cannot write in"):
        sweep(configs, "/proc/grok_nb", n_jobs=1, quiet=True)  # noqa: F821


def test_on_a_cluster(tmp_path, undisturbed):
    pytest.importorskip("distributed")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    address, quiet = f"tcp://127.0.0.1:{port}", dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    dask = [sys.executable, "-m", "distributed.cli."]
    scheduler = subprocess.Popen([*dask[:-1], dask[-1] + "dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
                                  "--no-dashboard"], **quiet)
    worker = [*dask[:-1], dask[-1] + "dask_worker", address, "--nthreads", "1", "--nworkers", "1", "--no-dashboard",
              "--no-nanny", "--host", "127.0.0.1"]
    processes = [scheduler, *(subprocess.Popen(worker, **quiet) for _ in range(2))]
    try:
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        end(start(f"sweep(configs, {str(tmp_path / 'store')!r}, scheduler={address!r}, quiet=True)"))
        late = start(f"""
            import grok_nb.runs.sweep as s
            s.PATIENCE = 1.
            more = grid(p=13, seed=9, train_frac=.5, d_model=32, steps=10**6, log_every=1000, frames=0, stop_factor=0)
            sweep(more, {str(tmp_path / 'late')!r}, scheduler={address!r}, quiet=True, save_every=.1)
        """)
        wait_for(lambda: running(tmp_path / "late"), late)
        for process in processes[1:]:
            process.kill()
        assert "the scheduler has had no worker for 1 seconds" in end(late, 1)
    finally:
        for process in processes[::-1]:
            process.terminate()
            process.wait(30)
    whole(tmp_path / "store", undisturbed)


def test_a_shipped_table_is_what_its_sweep_gives(tmp_path):
    shipped, again = results("tiny"), sweep(experiment("tiny").configs(), tmp_path, n_jobs=2, quiet=True)
    assert list(shipped.configs) == list(again.configs) and list(shipped.history) == list(again.history)
    # five digits are shipped, and double precision differs between processors by far less within 100 steps
    for key in again.history.select_dtypes("number"):
        a, b = shipped.history[key], again.history[key]
        assert ((a - b).abs() <= 6e-5 * b.abs().clip(lower=1e-6)).where(b.notna(), a.isna()).all(), key


def test_tables_join_where_the_first_has_a_setting_in_which_its_runs_do_not_differ():
    one, other = grid(seed=0, p=13, train_frac=[.5, .6])  # noqa: F821
    done = {"status": "done", "seconds": 1.}
    old = make_table({}, {one.hash: one}, {one.hash: done})
    old.summary["train_frac"] = .5  # as in a table that shipped when other runs of its sweep were still to come
    both = join(old, make_table({}, {other.hash: other}, {other.hash: done})).summary
    assert both.columns.is_unique and sorted(both["train_frac"]) == [.5, .6]
