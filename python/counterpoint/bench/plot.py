"""The picture of a record: recall across, queries per second up, ours in colour."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from counterpoint.bench.records import Point, Record, frontier

COLOURS = ("#d1495b", "#00798c", "#edae49", "#5f4bb6", "#2e8b57", "#c05299", "#30638e")
# Peers are told apart by their names and by quiet differences of line.
PEER_GREYS = ("#9aa0a8", "#7d8aa0", "#a08f7d")
PEER_STYLES = ("-", "--", ":", "-.")
FOOT = "#6b7078"
# A line that ends below this recall is named where it ends, the others in the margin.
BESIDE = 0.9985
# Below this recall nobody searches: a contender that never gets there is still drawn.
FLOOR = 0.8
TICKS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
# The axis is logarithmic in 1 - recall + CLOSE: the last per cent is where methods differ.
CLOSE = 5e-4


def draw(record: Record, path: Path) -> None:
    """Write the plot; the suffix of the path (.svg, .png, .pdf) says the format.

    Raises
    ------
    ModuleNotFoundError
        Matplotlib is not installed.
    ValueError
        The record has no points, or the suffix is none that Matplotlib knows.
    """
    from matplotlib.figure import Figure

    if not record.points:
        raise ValueError("the record has no points to plot")
    families: dict[str, list[Point]] = {}
    ours: dict[str, bool] = {}
    for row in record.contenders.values():
        points = record.of(row.name)
        if points:
            families.setdefault(row.family, []).extend(points)
            ours[row.family] = row.ours
    lines = {family: frontier(points) for family, points in families.items()}
    tops = [line[-1].recall for line in lines.values()]
    floor = min(FLOOR, max(0.0, min(tops) - 0.02))

    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yscale("log")
    axes.set_xscale("function", functions=(_stretch, _shrink))
    axes.set_xlim(floor, 1.0)
    ticks = [tick for tick in TICKS if tick >= floor]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    palette = iter(COLOURS * (1 + len(lines) // len(COLOURS)))
    greys = itertools.cycle(itertools.product(PEER_STYLES, PEER_GREYS))
    labels: list[tuple[float, float, str, str]] = []
    for family in sorted(lines, key=lambda family: ours[family]):
        line = [point for point in lines[family] if point.recall >= floor]
        strong = ours[family]
        style, colour = ("-", next(palette)) if strong else next(greys)
        axes.plot(
            [point.recall for point in line],
            [point.qps for point in line],
            marker="o",
            color=colour,
            linestyle=style,
            linewidth=2.4 if strong else 1.1,
            markersize=5.5 if strong else 2.6,
            zorder=3 if strong else 2,
            clip_on=False,
        )
        end = line[-1]
        if end.recall < BESIDE:
            # The line ends inside the picture: so does its name.
            axes.annotate(
                family,
                xy=(end.recall, end.qps),
                xytext=(5, 5),
                textcoords="offset points",
                color=colour,
                fontsize=8.5,
                fontweight="bold" if strong else "normal",
                zorder=4,
            )
        else:
            labels.append((end.recall, end.qps, family, colour))

    # Labels stand right of the axes, in order of speed, kept apart by a fixed step.
    low, high = axes.get_ylim()
    labels.sort(key=lambda label: label[1])
    spots = _apart([_height(qps, low, high) for _, qps, _, _ in labels])
    for (recall, qps, family, colour), spot in zip(labels, spots, strict=True):
        axes.annotate(
            family,
            xy=(recall, qps),
            xytext=(1.025, spot),
            textcoords="axes fraction",
            color=colour,
            fontsize=8.5,
            fontweight="bold" if ours[family] else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6},
        )
    run, data = record.run, record.run.dataset
    axes.set_xlabel(f"recall@{run.k}")
    calls = "one query per call" if run.mode == "single" else "batches"
    threads = "one thread" if run.threads == 1 else f"{run.threads} threads"
    axes.set_ylabel(f"queries per second ({threads}, {calls})")
    axes.set_title(
        f"{data['name']}: {data['n']:,} × {data['dim']}, {data['metric']}", loc="left", fontsize=11
    )
    axes.grid(which="major", color="#e6e8eb", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.text(0.005, -0.02, f"{run.machine['cpu']}, {run.date[:10]}", fontsize=7, color=FOOT)
    figure.savefig(path, dpi=160, bbox_inches="tight")


def _height(qps: float, low: float, high: float) -> float:
    """Return where a rate lies on the logarithmic axis, 0 to 1."""
    return (math.log(qps) - math.log(low)) / (math.log(high) - math.log(low))


def _apart(wanted: list[float]) -> list[float]:
    """Move rising places as little as it takes to keep them a line of text apart, within 0 to 1."""
    step = min(0.045, 1.0 / max(1, len(wanted)))
    count = len(wanted)
    up, down = list(wanted), list(wanted)
    for index in range(1, count):
        up[index] = max(up[index], up[index - 1] + step)
    for index in range(count - 2, -1, -1):
        down[index] = min(down[index], down[index + 1] - step)
    middle = [(a + b) / 2 for a, b in zip(up, down, strict=True)]
    for index in range(count):
        middle[index] = max(middle[index], index * step)
    for index in range(count - 1, -1, -1):
        middle[index] = min(middle[index], 1.0 - (count - 1 - index) * step)
    return middle


def _stretch(recall: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return where a recall lies on the axis."""
    return -np.log10(np.maximum(1.0 + CLOSE - np.asarray(recall, np.float64), CLOSE))


def _shrink(place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Undo `_stretch`."""
    return 1.0 + CLOSE - 10.0 ** -np.asarray(place, np.float64)
