"""How the library's notebooks read, as a table: python .ci/house.py [NOTEBOOK ...]

Lines are those that are neither blank nor directives; cells of imports alone count for nothing. `row` is the largest
number of exported cells with no cell between them that runs and shows something.
"""
import ast
import json
import re
import statistics
import sys
from pathlib import Path

COLUMNS = 120


def cells(path):
    return [(c["cell_type"], "".join(c["source"])) for c in json.loads(Path(path).read_text())["cells"]]


def room(path):
    "The module that a notebook exports, or None."
    found = [re.search(r"^#\|\s*default_exp ([\w.]+)", source, re.M) for _, source in cells(path)]
    return next((m[1] for m in found if m), None)


def library(root=Path(".")):
    "The notebooks that export a module, by path."
    return [p for p in sorted((root / "nbs").rglob("*.ipynb")) if not p.parts[-2].startswith(("_", ".")) and room(p)]


def code_lines(source):
    return [line for line in source.splitlines() if line.strip() and not re.match(r"#\||%|!", line)]


def only_imports(source):
    tree = ast.parse("\n".join(code_lines(source)))
    return all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in tree.body)


def measure(path):
    "A row of the table: sizes of exported cells, lines that show or test, longest row, widest line."
    exported, shown, widest, row, longest = [], 0, 0, 0, 0
    for kind, source in cells(path):
        if kind != "code":
            continue
        widest = max([widest, *map(len, source.splitlines())])
        if not code_lines(source) or only_imports(source):
            continue
        if re.search(r"^#\|\s*export", source, re.M):
            exported.append(len(code_lines(source)))
            row += 1
            longest = max(longest, row)
        else:
            shown, row = shown + len(code_lines(source)), 0
    return dict(exported=exported, shown=shown, row=longest, widest=widest)


def spread(sizes):
    "Median, and the size that nine of ten do not pass."
    ordered = sorted(sizes)
    return statistics.median(ordered), ordered[max(0, -(-9 * len(ordered) // 10) - 1)]


def table(paths):
    "All rows, and the whole house as the last."
    rows = {str(p): measure(p) for p in paths}
    rows["all"] = dict(exported=[n for r in rows.values() for n in r["exported"]], shown=sum(r["shown"] for r in rows.values()),
                       row=max(r["row"] for r in rows.values()), widest=max(r["widest"] for r in rows.values()))
    return rows


def main(paths):
    print(f"{'notebook':40} {'cells':>5} {'median':>6} {'9 of 10':>7} {'most':>5} {'shown/exported':>14} {'row':>4} {'widest':>6}")
    for name, r in table(paths or library()).items():
        if not r["exported"]:
            continue
        median, most = spread(r["exported"])
        ratio = r["shown"] / sum(r["exported"])
        print(f"{name.removeprefix('nbs/'):40} {len(r['exported']):5} {median:6g} {most:7} {max(r['exported']):5} {ratio:14.2f} "
              f"{r['row']:4} {r['widest']:6}")


if __name__ == "__main__":
    main([Path(p) for p in sys.argv[1:]])
