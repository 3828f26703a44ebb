"""The command line of the fuzzers: prints each new kind of finding once, and counts them."""

import argparse
import sys
import time
from collections import Counter

from fuzzing.run_cases import TARGETS, load_fuzzer, run_cases

_TRACE_LINES = 40
"""Last lines of a trace that are printed: a recursion has thousands."""


def main() -> int:
    """Run the cases asked for; return 1 where one broke a rule."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="repeat one case")
    given = parser.parse_args()
    one = given.case is not None
    numbers = range(given.case, given.case + 1) if one else range(given.cases)
    kinds: Counter[str] = Counter()
    start = time.monotonic()
    for finding in run_cases(load_fuzzer(given.target), given.seed, numbers):
        # The place where it was raised distinguishes kinds better than its text.
        place = [line for line in finding.trace.splitlines() if line.startswith("  File")][-1:]
        kind = f"{finding.error.split(':')[0]} {place}"
        kinds[kind] += 1
        if kinds[kind] == 1:
            trace = "\n".join(finding.trace.splitlines()[-_TRACE_LINES:])
            print(f"case {finding.number}: {finding.error}\n{trace}", flush=True)
    for kind, count in kinds.most_common():
        print(f"{count:6} × {kind}")
    seconds = time.monotonic() - start
    print(f"{len(numbers)} cases, {sum(kinds.values())} findings, {seconds:.0f} s")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
