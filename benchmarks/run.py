"""Run the benchmarks: `python benchmarks/run.py [NAME…]`, all by default.

Only the ratios of one run mean something: the machine is what it is. Exits with 1 where something could not
be measured; what a figure is decides nothing.
"""

from __future__ import annotations

import argparse
import sys

import decoding
import get_cpu
import get_wall
import imports
from figures import table

BENCHMARKS = {"get_cpu": get_cpu, "get_wall": get_wall, "decoding": decoding, "imports": imports}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure inferlease beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)}; default: all")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    figures = [figure for name in names for figure in BENCHMARKS[name].measure()]
    print(table(figures))
    return 1 if any(figure.missing for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
