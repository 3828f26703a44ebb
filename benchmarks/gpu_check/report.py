"""The figures among the facts of a run: as JSON, and as a table beside what is wanted."""

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
"""What is kept of the facts."""

_RIGHT = ("few", "inputs", "tests", "fits", *SANITIZERS)
"""Steps that tell right from wrong."""

Facts = Sequence[dict[str, Any]]


def main() -> None:
    """Write the figures of a run."""
    parser = argparse.ArgumentParser(description="Write the figures among facts.")
    parser.add_argument("folder", type=Path, help="where the facts are, and the figures go")
    parser.add_argument("start", type=int, nargs="?", default=0, help="byte where the run begins")
    asked = parser.parse_args()
    if path := write(asked.folder, [*facts.read(asked.folder / facts.FILE, asked.start)]):
        print(path.read_text())


def write(folder: Path, told: Facts) -> Path | None:
    """Write gpu.json and gpu.md where there are figures; return the latter's path."""
    figures = {what: [_plain(fact) for fact in _of(told, what)] for what in FIGURES}
    if not any(figures.values()):
        return None
    about: dict[str, Any] = next((fact["value"] for fact in _of(told, "device") if fact["ok"]), {})
    content = {**origin(), "gpu": about, **figures}
    (folder / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
    path = folder / "gpu.md"
    path.write_text(markdown(told, content))
    return path


def markdown(told: Facts, content: dict[str, Any]) -> str:
    """Return the tables."""
    names = ", ".join(content["gpu"].get("devices", ["an unknown GPU"]))
    lines = [f"# {names}, {content['date']}, commit {content['commit']}", ""]
    for fact in content["ceilings"]:
        lines += [f"Measured in this run: copy {fact['copy'] / 1e9:.0f} GB/s, read "
                  f"{fact['read'] / 1e9:.0f} GB/s, {fact['flops'] / 1e12:.1f} TFLOP/s in float32.",
                  ""]  # fmt: skip
    lines += _table(("asked", "measured", "floor", "aim"), wanted(told))
    lines += ["", *_table(_PASS, (_pass(fact) for fact in content["pass"]))]
    return "\n".join([*lines, ""])


_PASS = (
    *("pass", "runs", "call ms", "kernels ms", "bound ms", "share of the bound", "of the kernels"),
    *("bytes a row", "of the copy bandwidth"),
)


def _pass(fact: dict[str, Any]) -> tuple[str, ...]:
    whole = fact["kind"] != "late"  # the bound is that of a pass over all rows
    return (
        *(f"{fact['case']}, {fact['kind']}", str(fact["runs"])),
        *(f"{fact['call_ms']:.2f}", f"{fact['kernels_ms']:.2f}"),
        f"{fact['bound_ms']:.2f}, {fact['bound_by']}" if whole else "–",
        *((f"{fact['share']:.0%}", f"{fact['kernels_share']:.0%}") if whole else ("–", "–")),
        *(f"{fact['bytes_per_row']:g}", f"{fact['share_of_copy']:.0%}"),
    )


def wanted(told: Facts) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is asked, what was measured, its floor and its aim."""
    full = {fact["case"]: fact for fact in _of(told, "pass")
            if fact["kind"] == "full" and fact["runs"] == 1}  # fmt: skip
    for case in CASES:
        if fact := full.get(case.title):
            asked = f"full pass, {case.title}: share of the bound"
            yield asked, f"{fact['share']:.0%}", f"{case.floor:.0%}", f"{case.aim:.0%}"
    for fact in _of(told, "peer"):
        if one := full.get(fact["case"]):
            times = fact["iteration_ms"] / one["call_ms"]
            yield f"against {fact['peer']}, {fact['case']}", f"{times:.2f} ×", "2.5 ×", "4 ×"
    for fact in _of(told, "restarts"):
        asked = f"{fact['runs']} restarts together, {fact['case']}: a full pass, against one"
        yield asked, f"{fact['times_one']['full']} ×", "2 ×", "1.3 ×"
    for fact in _of(told, "fit"):
        asked = f"a whole fit, {fact['case']}, {fact['iterations']} iterations: in full passes"
        yield asked, str(fact["full_passes"]), "12", "8"
    for fact in _of(told, "dbscan"):
        if "times_faster" in fact:
            asked = f"DBSCAN, {fact['case']}, against {fact['cpu_threads']} threads of the CPU"
            yield asked, f"{fact['times_faster']} ×", "20 ×", "100 ×"
    for fact in _of(told, "step"):
        if fact["step"] in _RIGHT:
            yield fact["step"], f"{fact['state']}: {fact['result']}", "ok", "ok"


def _of(told: Facts, what: str) -> Iterator[dict[str, Any]]:
    return (fact for fact in told if fact["what"] == what)


def _plain(fact: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fact.items() if name not in ("step", "at", "what")}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return lines if len(lines) > 2 else []


if __name__ == "__main__":
    main()
