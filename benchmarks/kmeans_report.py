"""The results of kmeans.py for people: a table and a picture, from the JSON's cases alone."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

_OURS = "gpuseg"
_HEAD = [
    *("", "case", "best peer", "peer, s", "gpuseg, s", "ratio", "floor", "aim", "verdict"),
    *("peer, inertia", "gpuseg, inertia", "peer, iterations", "gpuseg, iterations", "commit"),
]
_COLORS = {"MISSED": "#c0504d", "met": "#5b8db8", "aim met": "#3f8f5f"}


def verdict(case: dict[str, Any]) -> str:
    """Return MISSED below the floor, met at or above it, and aim met."""
    if not case["met"]:
        return "MISSED"
    return "aim met" if case["ratio"] >= case["aim"] else "met"


def table(cases: list[dict[str, Any]]) -> str:
    """Return a Markdown table whose columns line up in a terminal, too."""
    rows = [_HEAD, *(_row(case) for case in cases)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [_line(row, widths) for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def write_markdown(cases: list[dict[str, Any]], path: Path) -> None:
    """Write the table, and what is needed to read it."""
    devices = sorted({f"{case['device']}, {case['n_threads']} threads" for case in cases})
    absent = sorted({name for case in cases for name in case["absent"]})
    versions = sorted({f"{n} {v}" for case in cases for n, v in case["versions"].items()})
    path.write_text(
        f"# k-means: gpuseg against the best peer\n\n{table(cases)}\n\n"
        "Medians of interleaved runs on float32 rows, from the same initial centers (a sweep "
        "seeds by itself). Ratio: the best peer's median ÷ gpuseg's. Inertia: in float64, from "
        "each engine's own centers and labels, ÷ the least of all engines; in a sweep "
        "÷ scikit-learn's, the worst of all k, and iterations are the kept starts', summed over "
        "k. An engine stops early where no label changes any more.\n\n"
        f"{'; '.join(devices)}. {', '.join(versions)}. "
        f"Absent: {', '.join(absent) or 'none'}. Made by benchmarks/kmeans.py.\n"
    )


def write_picture(cases: list[dict[str, Any]], path: Path) -> None:
    """Draw the ratios as bars, with floor and aim; say so where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        print(f"matplotlib is not installed: {path.name} is not drawn")
        return
    import matplotlib
    from matplotlib.figure import Figure

    # The same picture gives the same file, with its text as text.
    matplotlib.rcParams.update({"svg.hashsalt": "gpuseg", "svg.fonttype": "none"})
    figure = Figure(figsize=(9, 0.9 + 0.55 * len(cases)), layout="constrained")
    axes = figure.add_subplot()
    for place, case in enumerate(cases):
        axes.barh(place, case["ratio"], height=0.6, color=_COLORS[verdict(case)])
        ends = (place - 0.4, place + 0.4)
        axes.vlines(case["floor"], *ends, "black", label="" if place else "floor")
        axes.vlines(case["aim"], *ends, "black", "dotted", label="" if place else "aim")
        end = max(case["ratio"], case["aim"])
        axes.text(end, place, f"  {case['ratio']:.2f} × {case['best_peer']}", va="center")
    axes.set_yticks(range(len(cases)), [case["title"] for case in cases])
    axes.invert_yaxis()
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlim(0, 1.5 * max(max(case["ratio"], case["aim"]) for case in cases))
    axes.set_xlabel("times the speed of the best peer")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _row(case: dict[str, Any]) -> list[str]:
    ours, peer = (case["engines"][name] for name in (_OURS, case["best_peer"]))
    return [
        str(case["case"]),
        case["title"],
        case["best_peer"],
        f"{peer['median_s']:.3f}",
        f"{ours['median_s']:.3f}",
        f"{case['ratio']:.2f}",
        f"{case['floor']:g}",
        f"{case['aim']:g}",
        verdict(case),
        *(f"{peer['inertia_ratio']:.7f}", f"{ours['inertia_ratio']:.7f}"),
        *(str(peer["n_iter"]), str(ours["n_iter"])),
        case["commit"],
    ]


def _line(row: list[str], widths: list[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return f"| {' | '.join(cells)} |"
