"""`counterpoint bench`, `counterpoint bench report`, `counterpoint bench seeds`."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from counterpoint.bench import data as sets
from counterpoint.bench import machine, process, records, registry, report, truth
from counterpoint.bench.measure import Task, measure, now
from counterpoint.commands import one_line_errors

# Options that take several values, as in `--recall 0.9 0.95`.
SEVERAL = ("--methods", "--peers", "--recall")


class Spread(TyperGroup):
    """A group whose options in `SEVERAL` take all the values that follow them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its values, then parse as usual."""
        spread: list[str] = []
        option = None
        for position, word in enumerate(args):
            if position == 0 and word in self.commands:
                return super().parse_args(ctx, args)
            if word.startswith("--"):
                option = word if word in SEVERAL else None
                if option is None:
                    spread.append(word)
            elif option is not None:
                for value in word.split(","):
                    spread += [option, value]
            else:
                spread.append(word)
        return super().parse_args(ctx, spread)


bench = typer.Typer(
    cls=Spread,
    invoke_without_command=True,
    help="Measure Counterpoint beside its rivals.",
    pretty_exceptions_enable=False,
)


@bench.callback()
def run(
    ctx: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(sets.names())}, or a file of vectors."),
    ] = None,
    methods: Annotated[
        list[str] | None, typer.Option(help="Ours: all, none, names, module:Class.")
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option(help="Rivals: all, none, a library, names, module:Class."),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Neighbours per query.")] = 10,
    threads: Annotated[int, typer.Option(min=1, help="Threads for searching.")] = 1,
    build_threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for building, if not --threads.")
    ] = None,
    single: Annotated[bool, typer.Option("--single", help="One query per call.")] = False,
    recall: Annotated[
        list[float] | None, typer.Option(min=0, max=1, help="Recalls to report speeds at.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Queries: the first so many.")] = 1000,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Vectors: the first so many, if not all.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="l2, ip or cosine, if not the data's own.")
    ] = None,
    simd: Annotated[
        str | None, typer.Option(help="Instruction set forced on those that let it be: avx2.")
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Time adding to an empty index, where untrained.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each point; the best counts.")] = 5,
    budget: Annotated[float, typer.Option(help="Seconds of searching per contender.")] = 60,
    timeout: Annotated[float, typer.Option(help="Seconds for one build or one timing.")] = 1800,
    out: Annotated[
        Path | None, typer.Option(help="Record (.jsonl); in the cache folder if not given.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Frontier plot: .svg or .png.")] = None,
) -> None:
    """Build each contender in its own process, sweep its knobs, time all in turns."""
    if ctx.invoked_subcommand is not None:
        return
    console = report.console()
    with one_line_errors():
        if dataset is None:
            raise ValueError("give --dataset NAME or FILE, or a command: report, seeds")
        specs = [*registry.methods(methods or ["all"]), *registry.peers(peers or ["all"])]
        if not specs:
            raise ValueError("no contenders: --methods and --peers name none")
        if plot is not None:
            import matplotlib  # noqa: F401 - before an hour of work, not after
        environment = process.forced(simd)
        data = sets.load(dataset, queries, metric, rows)
        if k > len(data.vectors):
            raise ValueError(f"k is {k}: expected at most the {len(data.vectors)} vectors")
        task = Task(
            vectors=data.vectors,
            queries=data.queries,
            metric=data.metric,
            k=k,
            threads=threads,
            build_threads=build_threads or threads,
            single=single,
            add=add,
            environment=environment,
            rounds=rounds,
            budget_s=budget,
            timeout_s=timeout,
        )
        described = records.Run(
            date=now(),
            command=shlex.join(["counterpoint", *sys.argv[1:]]),
            dataset={
                "name": data.name,
                "n": len(data.vectors),
                "dim": data.vectors.shape[1],
                "metric": data.metric,
                "queries": len(data.queries),
                "digest": truth.digest(data.vectors, data.queries),
            },
            k=k,
            threads=threads,
            build_threads=task.build_threads,
            mode="single" if single else "batch",
            rounds=rounds,
            recall=sorted(recall or [0.9, 0.95, 0.99]),
            machine=machine.describe(),
            versions={**machine.versions(), **({"simd": simd} if simd else {})},
            simd=simd,
            environment=environment,
        )
        path = out or _default_out(data.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file, Console(stderr=True).status("") as status:
            record = measure(task, specs, described, file, status.update)
        report.show(console, record)
        console.print(f"record: {path}", soft_wrap=True)
        if plot is not None:
            _plot(record, plot)


@bench.command("report")
def report_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Records of one set-up.")],
    plot: Annotated[Path | None, typer.Option(help="Frontier plot: .svg or .png.")] = None,
) -> None:
    """Show the tables of records, and draw their plot, without measuring anything."""
    with one_line_errors():
        record = records.merged([records.read(file) for file in files])
        report.show(report.console(), record)
        if plot is not None:
            _plot(record, plot)


@bench.command("seeds")
def seeds_command(
    fast: Annotated[bool, typer.Option("--fast", help="100 queries, a minute.")] = False,
    table: Annotated[
        list[str] | None, typer.Option(help="Only these tables: S0 to S4; may be repeated.")
    ] = None,
) -> None:
    """Put the prototypes' published figures beside ours, row by row."""
    from counterpoint.bench import seeds

    with one_line_errors():
        seeds.show(report.console(), seeds.load(table), fast=fast)


def _default_out(name: str) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return Path(root) / "counterpoint" / "bench" / f"{Path(name).stem}-{moment}.jsonl"


def _plot(record: records.Record, path: Path) -> None:
    from counterpoint.bench import plot

    plot.draw(record, path)
    typer.echo(f"plot: {path}")
