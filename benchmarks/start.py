"""CPU seconds until the program answers: help, version, mistakes, and commands that do something: python benchmarks/start.py

Each line is the median of five processes, user and system time together; `import grok_nb` is wall time inside Python.
"""
import argparse
import os
import statistics
import subprocess
import sys

COMMANDS = ["--help", "--version", "run --help", "rum", "run --methd noise", "run --method nosie", "sweep tinny", "status nowhere",
            "list settings", "list methods", "claims C9"]
IMPORT = "import time; t = time.perf_counter(); import grok_nb; print(time.perf_counter() - t)"


def cpu(*words):
    "CPU seconds of one process."
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    seconds = [float(subprocess.check_output([sys.executable, "-c", IMPORT])) for _ in range(args.repeats)]
    print(f"import grok_nb: {1000 * statistics.median(seconds):.1f} ms")
    for words in COMMANDS:
        seconds = [cpu("-m", "grok_nb", *words.split()) for _ in range(args.repeats)]
        print(f"grok_nb {words}: {statistics.median(seconds):.2f} s of CPU", flush=True)
