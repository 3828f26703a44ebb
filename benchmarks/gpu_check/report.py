"""Write the figures of a run, as JSON and as a table with floors and aims."""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measure import origin

from gpu_check import facts
from gpu_check.problems import CASES
from gpu_check.steps import SANITIZERS

FIGURES = ("ceilings", "pass", "restarts", "profiled", "fit", "peer", "dbscan")
"""Kinds of facts that are figures."""

_CHECKS = ("small_cases", "inputs", "tests", "fits", *SANITIZERS)
"""Steps that check results."""

Facts = Sequence[dict[str, Any]]


def main() -> None:
    """Write the figures of a run."""
    parser = argparse.ArgumentParser(description="Write the figures among facts.")
    parser.add_argument("folder", type=Path, help="folder of the facts and figures")
    parser.add_argument("start", type=int, nargs="?", default=0, help="byte offset of the run")
    arguments = parser.parse_args()
    run = [*facts.read(arguments.folder / facts.FILE, arguments.start)]
    if path := write(arguments.folder, run):
        print(path.read_text())


def write(folder: Path, run: Facts) -> Path | None:
    """Write gpu.json and gpu.md if there are figures; return the path of gpu.md."""
    figures = {what: [_plain(fact) for fact in _of_kind(run, what)] for what in FIGURES}
    if not any(figures.values()):
        return None
    devices = (fact["value"] for fact in _of_kind(run, "device") if fact["ok"])
    content = {**origin(), "gpu": next(devices, {}), **figures}
    (folder / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
    path = folder / "gpu.md"
    path.write_text(markdown(run, content))
    return path


def markdown(run: Facts, content: dict[str, Any]) -> str:
    """Return the tables."""
    names = ", ".join(content["gpu"].get("devices", ["an unknown GPU"]))
    lines = [f"# {names}, {content['date']}, commit {content['commit']}", ""]
    for fact in content["ceilings"]:
        lines += [f"Measured in this run: copy {fact['copy'] / 1e9:.0f} GB/s, read "
                  f"{fact['read'] / 1e9:.0f} GB/s, {fact['flops'] / 1e12:.1f} TFLOP/s in float32.",
                  ""]  # fmt: skip
    lines += _table(("figure", "measured", "floor", "aim"), comparisons(run))
    lines += ["", *_table(_PASS, (_pass(fact) for fact in content["pass"]))]
    return "\n".join([*lines, ""])


_PASS = (
    *("pass", "runs", "call ms", "kernels ms", "bound ms", "share of the bound", "of the kernels"),
    *("bytes a row", "of the copy bandwidth"),
)


def _pass(fact: dict[str, Any]) -> tuple[str, ...]:
    scores_all_rows = fact["kind"] != "late"  # the bound is that of a pass over all rows
    return (
        *(f"{fact['case']}, {fact['kind']}", str(fact["runs"])),
        *(f"{fact['call_ms']:.2f}", f"{fact['kernels_ms']:.2f}"),
        f"{fact['bound_ms']:.2f}, {fact['bound_by']}" if scores_all_rows else "–",
        *(
            (f"{fact['share']:.0%}", f"{fact['kernels_share']:.0%}")
            if scores_all_rows
            else ("–", "–")
        ),
        *(f"{fact['bytes_per_row']:g}", f"{fact['share_of_copy']:.0%}"),
    )


def comparisons(run: Facts) -> Iterator[tuple[str, str, str, str]]:
    """Yield the name of a figure, its measured value, its floor and its aim."""
    full = {fact["case"]: fact for fact in _of_kind(run, "pass")
            if fact["kind"] == "full" and fact["runs"] == 1}  # fmt: skip
    for case in CASES:
        if fact := full.get(case.title):
            figure = f"full pass, {case.title}: share of the bound"
            yield figure, f"{fact['share']:.0%}", f"{case.floor:.0%}", f"{case.aim:.0%}"
    for fact in _of_kind(run, "peer"):
        if one := full.get(fact["case"]):
            times = fact["iteration_ms"] / one["call_ms"]
            yield f"against {fact['peer']}, {fact['case']}", f"{times:.2f} ×", "2.5 ×", "4 ×"
    for fact in _of_kind(run, "restarts"):
        figure = f"{fact['runs']} restarts together, {fact['case']}: a full pass, against one"
        yield figure, f"{fact['times_one']['full']} ×", "2 ×", "1.3 ×"
    for fact in _of_kind(run, "fit"):
        figure = f"a whole fit, {fact['case']}, {fact['iterations']} iterations: in full passes"
        yield figure, str(fact["full_passes"]), "12", "8"
    for fact in _of_kind(run, "dbscan"):
        if "times_faster" in fact:
            figure = f"DBSCAN, {fact['case']}, against {fact['cpu_threads']} threads of the CPU"
            yield figure, f"{fact['times_faster']} ×", "20 ×", "100 ×"
    for fact in _of_kind(run, "step"):
        if fact["step"] in _CHECKS:
            yield fact["step"], f"{fact['state']}: {fact['result']}", "ok", "ok"


def _of_kind(run: Facts, what: str) -> Iterator[dict[str, Any]]:
    return (fact for fact in run if fact["what"] == what)


def _plain(fact: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fact.items() if name not in ("step", "at", "what")}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return lines if len(lines) > 2 else []


if __name__ == "__main__":
    main()
