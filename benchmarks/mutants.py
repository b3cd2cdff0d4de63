"""Mutation: one line changed at a time, and the tests that are about it. Which changes does nobody notice?

python benchmarks/mutants.py [ROOM ...] [--list] [--jobs 1]

mutmut and cosmic-ray were looked at: both write their mutants into a package and ask pytest, and cannot change the same
line in the notebook that exports it and holds its tests, nor be told which line to change; so the mutants stand here, as
(room, old text, new text, tests). A copy of package, notebooks and tests is made in a temporary folder, and each mutant
is written into the module and into its notebook. Tests are files of tests/, perhaps with a test's name behind ::, and
"notebook" is the room's own. A mutant is killed when one of them fails, or takes ten times as long as without it.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NB = ("notebook",)
MUTANTS = [
    # losses
    ("models.losses", "loss = torch.where(own == top, torch.log1p(rest / p_own), top - own + total.log())", "loss = top - own + total.log()", NB),
    ("models.losses", "right, rest = p_own > others.amax(-1, keepdim=True)", "right, rest = p_own >= others.amax(-1, keepdim=True)", NB),
    ("models.losses", "scatter_(-1, y, -rest / total)", "scatter_(-1, y, -rest)", NB),
    ("models.losses", "return (logits - target).square().mean(-1), logits.argmax(-1) == labels", "return (logits - target).square().sum(-1), logits.argmax(-1) == labels", NB),
    ("models.losses", ".01*labels.square()", ".1*labels.square()", NB),
    # entropy
    ("measures.entropy", "if abs(alpha-1) < .5: return -torch.log1p(", "if abs(alpha-1) < 0: return -torch.log1p(", ("notebook", "test_entropy.py")),
    ("measures.entropy", "    return torch.logsumexp(alpha*lam.log(), 0)/(1-alpha)\n", "    return lam.pow(alpha).sum().log()/(1-alpha)\n", ("notebook", "test_entropy.py")),
    ("measures.entropy", "_order_entropy(lam[lam > (rounding if alpha < 1 else 0)], alpha)", "_order_entropy(lam[lam > 0], alpha)", ("notebook", "test_entropy.py")),
    ("measures.entropy", "if lam.min() < -rounding", "if lam.min() < -1", NB),
    ("measures.entropy", "return spectrum_entropy(torch.linalg.eigvalsh(_smaller_gram(Z)/len(Z)), alpha, len(Z))",
     "return spectrum_entropy(torch.linalg.eigvalsh(_smaller_gram(Z)/Z.shape[1]), alpha, len(Z))", ("notebook", "test_entropy.py")),
    ("measures.entropy", "half = self.se.item()*float(scipy.stats.t.ppf((1+level)/2, len(self.deviations)-1))",
     "half = self.se.item()*float(scipy.stats.t.ppf(level, len(self.deviations)-1))", NB),
    ("measures.entropy", "div(n*(n-1)).sqrt()", "div(n*n).sqrt()", NB),
    ("measures.entropy", "None if other.deviations is None else -other.deviations", "None if other.deviations is None else other.deviations", NB),
    ("measures.entropy", "    return estimate(value, None if deviations is None else -deviations)", "    return estimate(value, None if deviations is None else deviations)", NB),
    ("measures.entropy", "off/(1 + (1-alpha)*mean)", "off", NB),
    ("measures.entropy", "return n*(weights*(f(nodes) - powers @ c)).sum(1) + c @ c.new_tensor([n, 1, squares])",
     "return n*(weights*(f(nodes) - powers @ c)).sum(1) + c @ c.new_tensor([n, 1, 0])", NB),
    # information and robustness
    ("measures.information", "square().sum()/len(values)**2", "square().sum()/len(values)", NB),
    ("measures.information", "spread = values.var()/len(values)", "spread = values.var()", NB),
    ("measures.information", "value.minus(clean[name])", "value", NB),
    ("measures.robustness", "def once(): return (_outputs(model, x, gaussian(sigma, generator), **where) - clean).square().sum(1)",
     "def once(): return (_outputs(model, x, gaussian(sigma, generator), **where) - clean).square().mean(1)", ("notebook", "test_foreign.py")),
    ("measures.robustness", "    return _from_probes([once()/len(out) for _ in range(probes)])", "    return _from_probes([once() for _ in range(probes)])", ("notebook", "test_foreign.py")),
    ("measures.robustness", ".square().sum()/2/len(out)", ".square().sum()/len(out)", NB),
    ("measures.robustness", "    with sdpa_kernel(SDPBackend.MATH): out =", "    if True: out =", ("notebook", "test_foreign.py")),
    ("measures.robustness", "    scale = max(w.max() for w in weights).clamp(min=1e-300) if p > 2 else 1.", "    scale = 1.", NB),
    # features: the model is left as it was
    ("measures.features", "        for module, mode in modes: module.training = mode\n", "        model.train()\n", ("notebook", "test_foreign.py")),
    ("measures.features", "                if not torch.equal(buffer, old): buffer.copy_(old)\n", "                pass\n", ("notebook", "test_foreign.py")),
    ("measures.features", "            for handle in handles: handle.remove()\n", "            for handle in handles[1:]: handle.remove()\n", ("notebook", "test_foreign.py")),
    ("measures.features", "        stack.enter_context(torch.random.fork_rng(on_cuda))\n", "", ("notebook", "test_foreign.py")),
    ("measures.features", "    if len(_module_features(model, x[1:], (name,), None, \"input\")[name]) == n:", "    if False:", ("notebook", "test_foreign.py")),
    # radius, laws, spectra
    ("measures.radius", "return (1/(2*g + lipschitz)).clamp(max=1.)", "return (1/(g + lipschitz)).clamp(max=1.)", NB),
    ("measures.radius", "    return (distance <= radius)", "    return (distance >= radius)", NB),
    ("measures.radius", "smallest = _flat(x).square().sum(1).min()\n", "smallest = _flat(x).square().sum(1).mean()\n", NB),
    ("measures.laws", "    return f[ab, c] == f[a, bc], torch.stack", "    return f[ab, c] == f[bc, a], torch.stack", NB),
    ("measures.laws", "{\"all\": every, \"some\": some & ~every, \"none\": ~some}", "{\"all\": every, \"some\": some, \"none\": ~some}", NB),
    ("measures.laws", "each.quantile(.025)", "each.quantile(.1)", NB),
    ("measures.spectra", "rest = logits.detach()[train].double() - (V", "rest = logits.detach()[train].double() + (V", NB),
    ("measures.spectra", "    count = int((values.cumsum(0) < share*values.sum()).sum()) + 1", "    count = int((values.cumsum(0) < share*values.sum()).sum())", NB),
    # probes
    ("measures.probes", "    return h*keep.to(h)/(1 - drop)\n", "    return h*keep.to(h)\n", ("notebook", "test_foreign.py")),
    ("measures.probes", "                for w, old in zip(weights, start): w.copy_(old)\n", "                pass\n", ("notebook", "test_foreign.py")),
    ("measures.probes", "stream(seed, f\"{self.name}/{step}\", place)", "stream(seed, self.name, place)", NB),
    ("measures.probes", "    if hasattr(known, \"allowed\"): check_arguments(known, args)\n", "    if False: pass\n", ("notebook",)),
    # files
    ("files", "        beside.unlink(missing_ok=True)\n        with open(beside, \"x+b\") as file:", "        with open(beside, \"w+b\") as file:", NB),
    ("files", "        os.replace(beside, path)\n    except", "        path.write_bytes(beside.read_bytes())\n    except", NB),
    ("files", "    write_atomic(path, buffer.getvalue())\n", "    path.write_bytes(buffer.getvalue())\n", NB),
    ("files", "(\"O_RDONLY\", \"O_NOFOLLOW\", \"O_NONBLOCK\", \"O_BINARY\")", "(\"O_RDONLY\", \"O_NONBLOCK\", \"O_BINARY\")", NB),
    ("files", "(\"O_RDONLY\", \"O_NOFOLLOW\", \"O_NONBLOCK\", \"O_BINARY\")", "(\"O_RDONLY\", \"O_NOFOLLOW\", \"O_BINARY\")", NB),
    ("files", "if not stat.S_ISREG(os.fstat(file.fileno()).st_mode): raise GrokError(odd)", "pass", NB),
    ("files", "return file.read(32) == _digest(file)", "return bool(file.read(32))", ("notebook", "test_faults.py::test_damage_is_noticed_and_nothing_is_lost")),
    ("files", "            if keep: _keep_before(path)\n", "            _keep_before(path)\n", NB),
    ("files", "            if keep: _keep_before(path)\n", "", NB),
    ("files", "if (size := math.prod(shape) * dtype.itemsize) != member.file_size - before:", "if (size := math.prod(shape) * dtype.itemsize) > 1e15:", NB),
    ("files", "    if sum(member.compress_size for member in members) > length:", "    if False:", NB),
    ("files", "    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):", "    if False:", NB),
    ("files", "            if file.tell() > limit: raise", "            if file.tell() > 2*limit + 10**9: raise", NB),
    ("files", "free = min(free, most - (used - min(back, used) if used < math.inf else 0))", "free = min(free, most)", NB),
    ("files", "        yield from (o for o in (folder, *folder.parents) if o.is_relative_to(place))", "        yield folder", NB),
    ("files", "        if most != resource.RLIM_INFINITY: free", "        if False: free", NB),
    ("files", "    if len(text) > 20: raise", "    if len(text) > 2000: raise", NB),
    # noise
    ("methods.method", "(self.lambda1*(1 - train_acc))", "(self.lambda1*train_acc)", NB),
    # holding and stopping
    ("training.history", "held = starts[ends - starts >= hold]", "held = starts[ends - starts >= 0]", NB),
    ("training.history", "return float(held[0]) if", "return float(held[-1]) if", NB),
    ("training.history", "FIT = .99 #", "FIT = .9 #", NB),
    ("training.loop", "max(config.stop_factor*grokked, grokked+config.hold)", "config.stop_factor*grokked", NB),
    ("training.loop", "    return all(self.through())", "    return any(self.through())", NB),
    # noise, dropout and state of each seed
    ("training.loop", "row.normal_(0, s, generator=g)", "row.normal_(0, max(sigma.tolist()), generator=g)", NB),
    ("training.loop", "        return mask.div_(1-drop)\n", "        return mask\n", NB),
    ("training.loop", "theirs = lambda values: [values[i] for i in which]", "theirs = lambda values: values[:len(which)]", NB),
    ("training.loop", "return value[which]", "return value[:len(which)]", NB),
    ("training.loop", "    _need(bool(words.any()), \"streams\")\n", "", NB),
    # checksums, provenance and locks of a run
    ("training.run", "        (folder/\"run.json\").unlink(missing_ok=True)\n", "", NB),
    ("training.run", "onednn=onednn() is not None", "onednn=True", NB),
    ("registry", "return float(argument.default) if real and", "return float(argument.default) if", NB),
    ("training.run", "        if sums.get(name) != (", "        if False and sums.get(name) != (", NB),
    ("training.run", "    for name in (*files, \"run.json\") if sums else ():", "    for name in files if sums else ():", NB),
    ("training.run", "    try: lock.acquire(timeout=wait)\n", "    try: pass\n", NB),
    ("training.run", "and path.stat().st_nlink < 2)", "and path.stat().st_nlink < 9)", NB),
    ("training.run", "        if is_done(folder):\n            with suppress", "        if False:\n            with suppress", NB),
    ("training.run", "        if _stamp(Path(folder)) == before or", "        if True or", NB),
    ("training.run", "    if not about or not step: return now\n", "    if not about: return now\n", NB),
    ("training.run", "    if not changed: return about\n", "    return about\n", NB),
    ("training.run", "    if (steps[1:] <= steps[:-1]).any()", "    if (steps[1:] < steps[:-1]).any()", NB),
    ("training.run", "sorted(taken_columns(config) & set(history))", "sorted(set())", NB),
    ("training.run", "            for half in unfinished(folder): half.unlink()\n", "", NB),
    ("training.fit", "    if folder and not (kept.status == \"done\" and is_stored(folder)): save_run", "    if folder: save_run", NB),
    ("training.fit", "        with run_lock(folder): return _fitted(", "        return _fitted(", NB),
    # workers that are lost, stacks
    ("runs.sweep", "if losses[name] >= LOSSES]:", "if losses[name] > LOSSES]:", NB),
    ("runs.sweep", "    return [found[h] for h in sorted(found)]\n", "    return list(found.values())\n", NB),
    ("runs.sweep", "    _drop_stack(hashes, store) # all are stored, or it is given up\n", "", NB),
    ("runs.sweep", "    if status != \"done\" and not any(kept.t.through()):", "    if True:", NB),
    ("runs.sweep", "if any(t.through()): t.stopped = True", "pass", NB),
    ("runs.sweep", "seconds = kept.seconds*len(which)/len(kept.t.configs)", "seconds = kept.seconds", NB),
    # intervals, forecasts, transitions
    ("analysis.judge", "round((1-level)/2, 12)", "round(1-level, 12)", NB),
    ("analysis.judge", "rank_tails(n), alpha, side", "rank_tails(n), 2*alpha, side", NB),
    ("analysis.forecast", "    return \"\" if value in seen else", "    return \"\" if True else", NB),
    ("analysis.forecast", "own, *drawn = _auc_draws(y, scores, groups, draws)\n", "own, *drawn = _auc_draws(y, -scores, groups, draws)\n", NB),
    ("analysis.forecast", "if odd := \", \".join(filter(None, odd)):", "if not (odd := True):", NB),
    ("analysis.transitions", "rho = np.clip((residual[1:]*residual[:-1]).mean()/max(variance, 1e-12), 0, .95)", "rho = 0.", NB),
    ("analysis.watcher", "        except GrokError as e: text = str(e)", "        except ZeroDivisionError as e: text = str(e)", NB),
]


def module(room):
    return Path("grok_nb", *room.split(".")).with_suffix(".py")


def notebook(room, root=ROOT):
    "The notebook that exports a room."
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        if f"default_exp {room}\\n" in (text := path.read_text()) or f'default_exp {room}"' in text:
            return path.relative_to(root)
    raise SystemExit(f"no notebook exports {room}")


def change(text, old, new):
    "Text with one change, or None if it does not hold the old one exactly once."
    return text.replace(old, new) if text.count(old) == 1 else None


def change_notebook(text, old, new):
    "The same for a notebook: in the one exported cell that holds it."
    nb, done = json.loads(text), 0
    for cell in nb["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and re.search(r"^#\|\s*export", source, re.M) and old in source + "\n":
            cell["source"], done = (source + "\n").replace(old, new).rstrip("\n").splitlines(keepends=True), done + 1
    return json.dumps(nb) if done == 1 else None


def stray(mutants):
    "Mutants whose old text is not there exactly once."
    for room, old, new, _ in mutants:
        if change((ROOT / module(room)).read_text(), old, new) is None:
            yield f"{room}: {old.strip()[:100]!r} is not there exactly once"
        elif change_notebook((ROOT / notebook(room)).read_text(), old, new) is None:
            yield f"{room}: {old.strip()[:100]!r} is not in one exported cell of its notebook"


def copy_to(folder, root=ROOT):
    "Package, notebooks, tests and benchmarks, as they are."
    for name in ("grok_nb", "nbs", "tests", "benchmarks"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "_docs", "_proc", "images"))
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(root / name, folder)


def passes(folder, room, test, seconds):
    "Whether a test passes in a copy, or None: it took too long."
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1"}
    if test == "notebook":
        place = folder / notebook(room, folder)
        command, where = [sys.executable, str(folder / "tests" / "run_notebook.py"), place.name, str(folder / "out.ipynb")], place.parent
    else:
        command, where = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{test}"], folder
    try:
        return not subprocess.run(command, cwd=where, env=env, capture_output=True, timeout=seconds).returncode
    except subprocess.TimeoutExpired:
        return None


def try_mutant(mutant, times, whole):
    "What killed a mutant of the copy `whole`, or None: it survives."
    room, old, new, tests = mutant
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        copy_to(folder, whole)
        place, nb = folder / module(room), folder / notebook(room, folder)
        place.write_text(change(place.read_text(), old, new))
        nb.write_text(change_notebook(nb.read_text(), old, new))
        for test in tests:
            if not passes(folder, room, test, 10 * times[room, test] + 30):
                return test


def main(rooms, jobs, only_list):
    wanted = [m for m in MUTANTS if not rooms or any(m[0].startswith(r) for r in rooms)]
    if lost := list(stray(wanted)):
        print("\n".join(lost))
        return 2
    if only_list:
        print("\n".join(f"{room}: {old.strip()}\n    -> {new.strip()}" for room, old, new, _ in wanted))
        return 0
    times, survivors = {}, 0
    with tempfile.TemporaryDirectory() as whole, ThreadPoolExecutor(jobs) as pool:
        copy_to(Path(whole))  # what is edited meanwhile is not in it
        for room, test in dict.fromkeys((m[0], test) for m in wanted for test in m[3]):
            start = time.monotonic()
            if not passes(Path(whole), room, test, 600):
                print(f"{room}: {test} fails without any change; mend that first", flush=True)
                wanted = [m for m in wanted if m[0] != room or test not in m[3]]
                survivors += 1
            times[room, test] = time.monotonic() - start
        for mutant, killer in zip(wanted, pool.map(lambda m: try_mutant(m, times, Path(whole)), wanted)):
            survivors += killer is None
            what = f"killed by {killer}" if killer else "SURVIVES"
            print(f"{what}: {mutant[0]}: {mutant[1].strip()[:90]} -> {mutant[2].strip()[:60]}", flush=True)
    print(f"{len(wanted)} mutants, {survivors} survive ({survivors / max(len(wanted), 1):.1%})")
    return int(survivors > len(wanted) / 20)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help="such as measures or files; all if none is named")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="print the mutants, try none")
    args = parser.parse_args()
    sys.exit(main(args.rooms, args.jobs, args.list))
