"""Peak memory: a build holds input and index, a load one file, a rejected file nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import counterpoint as cp
from support import METHODS, normal, python

MIB = 1 << 20

# Prints by how many bytes the process's peak grew while `step` ran, and what `step` gave.
GROWTH = """
import sys
import numpy as np
import counterpoint as cp

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

def grown(step):
    before = status('VmRSS')
    made = step()
    return status('VmHWM') - before, made
"""


@pytest.mark.parametrize("primary", [4, 8])
def test_a_fit_holds_its_input_and_its_index(primary: int) -> None:
    code = GROWTH + (
        "rows = np.random.default_rng(1).standard_normal((60_000, 384), dtype=np.float32)\n"
        "cp.LVQ('l2').fit(rows[:100]).search(rows[0])\n"
        f"growth, index = grown(lambda: cp.LVQ('l2', primary={primary}).fit(rows, threads=2))\n"
        "print(growth, rows.nbytes, sum(index.stats()['bytes'].values()))\n"
    )
    run = python(code)
    assert run.returncode == 0, run.stderr
    growth, given, index = map(int, run.stdout.split())
    # The input was there before: what a build adds to it must leave the whole below 1.2 × both.
    assert given + growth <= 1.2 * (given + index)
    # And it is the index, not a second input: some MiB are stacks and the allocator's.
    assert growth <= 1.1 * index + 16 * MIB


@pytest.mark.parametrize("read", ["cp.load(path)", "cp.from_bytes(data)"])
@pytest.mark.parametrize("method", ["Flat", "LVQ-8"])
def test_a_load_holds_one_files_worth(method: str, read: str, tmp_path: Path) -> None:
    path = tmp_path / "index.cp"
    METHODS[method]("ip").fit(normal(150_000, 128)).save(path)
    code = GROWTH + (
        "path = sys.argv[1]\n"
        "data = open(path, 'rb').read() if 'data' in sys.argv[2] else b''\n"
        "growth, index = grown(lambda: eval(sys.argv[2]))\n"
        "print(growth)\n"
    )
    run = python(code, str(path), read)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) <= 1.1 * path.stat().st_size + 8 * MIB


def test_a_large_foreign_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "sparse.cp"
    with path.open("wb") as file:
        file.truncate(4 << 30)
    small = cp.Flat("l2").fit(normal(3, 2)).to_bytes()
    longer = tmp_path / "longer.cp"
    with longer.open("wb") as file:
        file.write(small)
        file.truncate(4 << 30)
    code = GROWTH + (
        "def refuse():\n"
        "    for path in sys.argv[1:]:\n"
        "        for mmap in (False, True):\n"
        "            try:\n"
        "                cp.load(path, mmap=mmap)\n"
        "            except cp.FormatError:\n"
        "                continue\n"
        "            raise SystemExit('loaded')\n"
        "print(grown(refuse)[0])\n"
    )
    run = python(code, str(path), str(longer))
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) <= 8 * MIB
