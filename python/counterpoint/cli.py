"""The command line: `counterpoint demo`, `build`, `search`, `info`, `verify` and `bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.console import Console
    from rich.table import Table
except ModuleNotFoundError:
    raise SystemExit("counterpoint needs more: pip install 'counterpoint[cli]'") from None

import counterpoint as cp
from counterpoint import commands
from counterpoint.bench.commands import bench

app = typer.Typer(
    help="Counterpoint: vector search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A Counterpoint file.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"counterpoint {cp.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Counterpoint: vector search."""


@app.command()
def demo(
    fast: Annotated[bool, typer.Option("--fast", help="Fewer repeats of each timing.")] = False,
) -> None:
    """Build every method on bundled words, measure them, and show what they find."""
    from counterpoint.demo import run

    if not run(Console(), fast=fast):
        raise typer.Exit(1)


app.command()(commands.build)
app.command()(commands.search)
app.add_typer(bench, name="bench")


@app.command()
def info(file: File) -> None:
    """Show what a file holds, from its header alone."""
    found = _read(cp.info, file)
    typer.echo(f"{file}: {found['method']}, format {found['format']}")
    typer.echo(f"written by counterpoint {found['version']}, {found['file_bytes']:,} bytes")
    for name, value in found["params"].items():
        typer.echo(f"  {name} = {value}")
    table = Table("tensor", "dtype", "shape")
    table.add_column("bytes", justify="right")
    for tensor in found["tensors"]:
        shape = " x ".join(map(str, tensor["shape"]))
        table.add_row(tensor["name"], tensor["dtype"], shape, f"{tensor['bytes']:,}")
    Console().print(table)


@app.command()
def verify(file: File) -> None:
    """Read a file whole and check every digest; exit with 1 if it is damaged."""
    found = _read(cp.verify, file)
    typer.echo(f"{file}: ok ({found['method']}, {found['file_bytes']:,} bytes)")


def _read(reader: Callable[[Path], dict[str, Any]], file: Path) -> dict[str, Any]:
    """Call the reader; a file that cannot be read ends the command with one line."""
    try:
        return reader(file)
    except (OSError, cp.FormatError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        typer.echo(f"counterpoint: {file}: {reason}", err=True)
        raise typer.Exit(1) from None
