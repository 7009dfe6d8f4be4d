"""The tables of a record."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from counterpoint.bench.records import Contender, Point, Record, best_at

NONE = "–"


def show(console: Console, record: Record) -> None:
    """Print what every contender cost and reached, then ours against the peers."""
    run = record.run
    data = run.dataset
    threads = "one thread" if run.threads == 1 else f"{run.threads} threads"
    calls = "one query per call" if run.mode == "single" else "all queries in one call"
    forced = f", {run.simd} forced" if run.simd else ""
    console.print(
        f"{data['name']}: {data['n']:,} × {data['dim']}, {data['metric']}; "
        f"{data['queries']:,} queries, k = {run.k}, {threads}, {calls}{forced}"
    )
    console.print(Text(f"{run.date}  {run.machine['cpu']}  {run.command}", style="dim"))
    console.print(_contenders(record))
    short = [row for row in record.contenders.values() if row.status == "ok" and row.unmeasured]
    if short:
        named = ", ".join(f"{row.name} ({row.unmeasured})" for row in short)
        console.print(f"points of the sweep left out for the time budget: {named}")
    without = [row for row in record.contenders.values() if row.status != "ok"]
    if without:
        table = Table("contender", "", "why", title="not measured")
        for row in without:
            table.add_row(row.name, row.status, Text(row.reason or ""))
        console.print(table)
    if any(row.ours and row.status == "ok" for row in record.contenders.values()):
        console.print(_ratios(record))


def console() -> Console:
    """Return the terminal, or a width that holds the tables where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=140)


def comparisons(record: Record) -> Iterator[tuple[Contender, float, Point, Point | None, bool]]:
    """Yield ours, recall, our point, the rival's point (None: no rival reaches it), if reference.

    At each recall of the run the rival is the fastest peer. The method's own reference is met at
    the highest recall both reach.
    """
    peers = [
        point for row in record.contenders.values() if not row.ours for point in record.of(row.name)
    ]
    for row in record.contenders.values():
        points = record.of(row.name)
        if not row.ours or not points:
            continue
        for recall in record.run.recall:
            mine = best_at(points, recall)
            if mine is not None:
                yield row, recall, mine, best_at(peers, recall), False
        theirs = record.of(row.reference) if row.reference else []
        if theirs:
            common = min(max(point.recall for point in side) for side in (points, theirs))
            mine = best_at(points, common)
            if mine is not None:
                yield row, common, mine, best_at(theirs, common), True


def _contenders(record: Record) -> Table:
    table = Table(title="contenders")
    table.add_column("contender", no_wrap=True)
    titles = ["build s", "peak build\nMiB", "bytes per\nvector", "resident\nMiB", "top\nrecall"]
    added = any(row.add_s for row in record.contenders.values())
    if added:
        titles.append("add\nMB/s")
    titles += [f"q/s at\n{recall:g}" for recall in record.run.recall]
    for title in titles:
        table.add_column(title, justify="right")
    best = {
        recall: max((point.qps for point in record.points if point.recall >= recall), default=0.0)
        for recall in record.run.recall
    }
    ordered = sorted(record.contenders.values(), key=lambda row: not row.ours)
    for row in ordered:
        style = "bold" if row.ours else ""
        if row.status != "ok":
            continue
        points = record.of(row.name)
        cells = [
            NONE if row.build_s is None else f"{row.build_s:,.1f}",
            _mebibytes(row.peak_build_bytes),
            NONE if row.disk_bytes_per_vector is None else f"{row.disk_bytes_per_vector:,.0f}",
            _mebibytes(row.resident_bytes),
            f"{max((point.recall for point in points), default=0.0):.4f}",
        ]
        if added:
            cells.append(_throughput(record, row))
        rates = []
        for recall in record.run.recall:
            point = best_at(points, recall)
            fastest = point is not None and point.qps == best[recall]
            shown = NONE if point is None else f"{point.qps:,.0f}"
            rates.append(Text(shown, style="bold green" if fastest else ""))
        table.add_row(Text(row.name, style=style), *cells, *rates)
    return table


def _ratios(record: Record) -> Table:
    table = Table(title="ours against the fastest peer, and against each method's reference")
    table.add_column("method", no_wrap=True)
    table.add_column("at recall", justify="right")
    table.add_column("q/s", justify="right")
    table.add_column("rival", no_wrap=True)
    table.add_column("its q/s", justify="right")
    table.add_column("ratio", justify="right")
    last = None
    for row, recall, mine, rival, reference in comparisons(record):
        if last not in (None, row.name):
            table.add_section()
        last = row.name
        if rival is None:
            cells = ("no peer reaches it", NONE, NONE)
        else:
            name = f"{rival.contender} (reference)" if reference else rival.contender
            cells = (name, f"{rival.qps:,.0f}", f"{mine.qps / rival.qps:.2f}×")
        table.add_row(row.name, f"{recall:.4g}", f"{mine.qps:,.0f}", *cells)
    return table


def _throughput(record: Record, row: Contender) -> str:
    """Return the megabytes (10^6 bytes) of float32 that the best round added in a second."""
    size = 4 * record.run.dataset["n"] * record.run.dataset["dim"]
    return f"{size / min(row.add_s) / 1e6:,.0f}" if row.add_s else NONE


def _mebibytes(value: int | None) -> str:
    return NONE if value is None else f"{value / 2**20:,.0f}"
