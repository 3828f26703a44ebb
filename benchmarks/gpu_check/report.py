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
    figures = {what: [_plain(own) for own in _of(told, what)] for what in FIGURES}
    if not any(figures.values()):
        return None
    about: dict[str, Any] = next((own["value"] for own in _of(told, "device") if own["ok"]), {})
    content = {**origin(), "gpu": about, **figures}
    (folder / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
    path = folder / "gpu.md"
    path.write_text(markdown(told, content))
    return path


def markdown(told: Facts, content: dict[str, Any]) -> str:
    """Return the tables."""
    names = ", ".join(content["gpu"].get("devices", ["an unknown GPU"]))
    lines = [f"# {names}, {content['date']}, commit {content['commit']}", ""]
    for own in content["ceilings"]:
        lines += [f"Measured in this run: copy {own['copy'] / 1e9:.0f} GB/s, read "
                  f"{own['read'] / 1e9:.0f} GB/s, {own['flops'] / 1e12:.1f} TFLOP/s in float32.",
                  ""]  # fmt: skip
    lines += _table(("asked", "measured", "floor", "aim"), wanted(told))
    lines += ["", *_table(_PASS, (_pass(own) for own in content["pass"]))]
    return "\n".join([*lines, ""])


_PASS = (
    *("pass", "runs", "call ms", "kernels ms", "bound ms", "share of the bound", "of the kernels"),
    *("bytes a row", "of the copy bandwidth"),
)


def _pass(own: dict[str, Any]) -> tuple[str, ...]:
    whole = own["kind"] != "late"  # the bound is that of a pass over all rows
    return (
        *(f"{own['case']}, {own['kind']}", str(own["runs"])),
        *(f"{own['call_ms']:.2f}", f"{own['kernels_ms']:.2f}"),
        f"{own['bound_ms']:.2f}, {own['bound_by']}" if whole else "–",
        *((f"{own['share']:.0%}", f"{own['kernels_share']:.0%}") if whole else ("–", "–")),
        *(f"{own['bytes_a_row']:g}", f"{own['share_of_copy']:.0%}"),
    )


def wanted(told: Facts) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is asked, what was measured, its floor and its aim."""
    full = {own["case"]: own for own in _of(told, "pass")
            if own["kind"] == "full" and own["runs"] == 1}  # fmt: skip
    for case in CASES:
        if own := full.get(case.title):
            asked = f"full pass, {case.title}: share of the bound"
            yield asked, f"{own['share']:.0%}", f"{case.floor:.0%}", f"{case.aim:.0%}"
    for own in _of(told, "peer"):
        if one := full.get(own["case"]):
            times = own["iteration_ms"] / one["call_ms"]
            yield f"against {own['peer']}, {own['case']}", f"{times:.2f} ×", "2.5 ×", "4 ×"
    for own in _of(told, "restarts"):
        asked = f"{own['runs']} restarts together, {own['case']}: a full pass, against one"
        yield asked, f"{own['times_one']['full']} ×", "2 ×", "1.3 ×"
    for own in _of(told, "fit"):
        asked = f"a whole fit, {own['case']}, {own['iterations']} iterations: in full passes"
        yield asked, str(own["full_passes"]), "12", "8"
    for own in _of(told, "dbscan"):
        if "times_faster" in own:
            asked = f"DBSCAN, {own['case']}, against {own['cpu_threads']} threads of the CPU"
            yield asked, f"{own['times_faster']} ×", "20 ×", "100 ×"
    for own in _of(told, "step"):
        if own["step"] in _RIGHT:
            yield own["step"], f"{own['state']}: {own['result']}", "ok", "ok"


def _of(told: Facts, what: str) -> Iterator[dict[str, Any]]:
    return (own for own in told if own["what"] == what)


def _plain(fact: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fact.items() if name not in ("step", "at", "what")}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return lines if len(lines) > 2 else []


if __name__ == "__main__":
    main()
