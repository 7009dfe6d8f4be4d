"""Files: what comes back is what was saved, or an error; a save that fails leaves the old file."""

from __future__ import annotations

import copy
import errno
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import counterpoint as cp
from support import METHODS, METRICS, assert_same, normal, python


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.cp"


def small(method: str, n: int = 3) -> cp.Index:
    return METHODS[method]("l2").fit(normal(n, 2), [7, 3, 9][:n] if n == 3 else None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [0, 1, 200])
def test_all_ways_back_are_equal(method: str, metric: str, n: int, path: Path) -> None:
    rows, queries = normal(n, 11), normal(4, 11, seed=2)
    index = METHODS[method](metric).fit(rows, np.arange(n) * 7 - 5)
    found, data = index.search(queries), index.to_bytes()
    index.save(path)
    assert path.read_bytes() == data
    kind = type(index)
    loaded = [
        cp.load(path),
        cp.load(str(path), verify=False),
        cp.load(path, mmap=True),
        cp.load(path, mmap=True, verify=False),
        kind.load(path),
        kind.load(path, mmap=True),
        cp.Index.load(path),
        cp.from_bytes(data),
        cp.from_bytes(bytearray(data)),
        kind.from_bytes(memoryview(data)),
        cp.Index.from_bytes(data),
        pickle.loads(pickle.dumps(index)),
        pickle.loads(pickle.dumps(cp.load(path, mmap=True))),
        copy.copy(index),
        copy.deepcopy(index),
    ]
    for other in loaded:
        assert type(other) is kind and repr(other) == repr(index)
        assert other.to_bytes() == data
        assert_same(other.search(queries), found)
        np.testing.assert_array_equal(other.ids, index.ids)
        other.verify()
        # Also one that is mapped can be changed; the file does not.
        other.add(normal(70, 11, seed=3))
        other.remove(other.ids[:-1])
        assert len(other) == 1
    assert path.read_bytes() == data
    assert index.to_bytes() == data


@pytest.mark.parametrize("method", METHODS)
def test_an_unfitted_index_is_saved_too(method: str, path: Path) -> None:
    METHODS[method]("ip").save(path, durable=False)
    index = cp.load(path)
    assert (index.metric, index.dim, len(index)) == ("ip", None, 0)
    assert index.fit(normal(3, 2)).dim == 2


@pytest.mark.parametrize("method", METHODS)
def test_any_flipped_bit_is_found(method: str, path: Path) -> None:
    data = bytearray(small(method).to_bytes())
    cp.from_bytes(data)
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(cp.FormatError):
            cp.from_bytes(data)
        if bit % 97 == 0:
            path.write_bytes(data)
            for mmap in (False, True):
                with pytest.raises(cp.FormatError):
                    cp.load(path, mmap=mmap)
            with pytest.raises(cp.FormatError):
                cp.verify(path)
        data[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("method", METHODS)
def test_any_other_length_is_found(method: str, path: Path) -> None:
    data = small(method).to_bytes()
    for length in range(len(data)):
        with pytest.raises(cp.FormatError):
            cp.from_bytes(data[:length])
    for more in (b"\0", b"\0" * 64, data):
        with pytest.raises(cp.FormatError, match="wrong length"):
            cp.from_bytes(data + more)
    for length in (0, 1, 60, 200, len(data) - 64, len(data) - 1):
        path.write_bytes(data[:length])
        for mmap in (False, True):
            with pytest.raises(cp.FormatError):
                cp.load(path, mmap=mmap, verify=False)
        with pytest.raises(cp.FormatError):
            cp.info(path)


@pytest.mark.parametrize("method", METHODS)
def test_moved_blocks_are_found(method: str) -> None:
    data = METHODS[method]("l2").fit(normal(70, 16)).to_bytes()
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)]
    rng = random.Random(1)
    for _ in range(200):
        i, j = rng.sample(range(len(blocks)), 2)
        moved = [*blocks]
        moved[i], moved[j] = blocks[j], blocks[i]
        if moved != blocks:
            with pytest.raises(cp.FormatError):
                cp.from_bytes(b"".join(moved))
        with pytest.raises(cp.FormatError):
            cp.from_bytes(b"".join(blocks[:i] + blocks[i + 1 :]))
        with pytest.raises(cp.FormatError):
            cp.from_bytes(b"".join([*blocks[:i], b"\0" * 64, *blocks[i:]]))


@pytest.mark.parametrize("method", METHODS)
def test_without_verify_damage_is_left_to_verify(method: str, path: Path) -> None:
    METHODS[method]("l2").fit(normal(64, 16)).save(path)
    tensors = cp.info(path)["tensors"]
    name = {"F": "vectors", "L": "codes", "P": "codes", "R": "codes", "S": "graph", "T": "scan"}[
        method[0]
    ]
    before = sum(t["bytes"] for t in tensors[: [t["name"] for t in tensors].index(name)])
    header = cp.info(path)["file_bytes"] - sum(t["bytes"] for t in tensors)
    data = bytearray(path.read_bytes())
    data[header + before + 5] ^= 1
    path.write_bytes(data)
    index = cp.load(path, mmap=True, verify=False)
    with pytest.raises(cp.FormatError, match=f'damaged tensor "{name}"'):
        index.verify()
    with pytest.raises(cp.FormatError, match=f'damaged tensor "{name}"'):
        cp.verify(path)
    cp.load(path, verify=False).verify()  # nothing that could not be so


def test_another_method_is_refused(path: Path) -> None:
    small("LVQ-8").save(path)
    with pytest.raises(cp.FormatError, match='method: expected "Flat", got "LVQ"'):
        cp.Flat.load(path)
    with pytest.raises(cp.FormatError, match='method: expected "LVQ", got "Flat"'):
        cp.LVQ.from_bytes(small("Flat").to_bytes())


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 200, b"PK\x03\x04" * 50])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(cp.FormatError, match="not a Counterpoint file"):
        cp.from_bytes(data)


def test_memory_of_any_layout_is_read() -> None:
    """Also where it is large and copied in parts."""
    for n in (3, 200_000):
        index = cp.Flat("l2").fit(np.zeros((n, 5), np.float32))
        data = index.to_bytes()
        spread = np.zeros(2 * len(data), np.uint8)
        spread[::2] = np.frombuffer(data, np.uint8)
        for view in (
            bytearray(data),
            memoryview(data),
            spread[::2].data,
            np.frombuffer(data, np.float32).reshape(4, -1).data,
            np.frombuffer(data, np.dtype("i4,f4")).data,
        ):
            assert cp.from_bytes(view).to_bytes() == data
        with pytest.raises(cp.FormatError):
            cp.from_bytes(memoryview(data)[:-1])


@pytest.mark.parametrize("data", ["text", 5, [1, 2], None])
def test_only_bytes_are_read(data: object) -> None:
    with pytest.raises(TypeError, match="data: expected bytes, bytearray or memoryview, got"):
        cp.from_bytes(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_safetensors_opens_it(method: str, path: Path) -> None:
    index = METHODS[method]("l2").fit(normal(70, 16), np.arange(70)[::-1])
    index.save(path)
    tensors = safetensors.numpy.load_file(path)
    info = cp.info(path)
    assert {t["name"] for t in info["tensors"]} == tensors.keys()
    assert all(tensors[t["name"]].shape == t["shape"] for t in info["tensors"])
    assert all(tensors[t["name"]].nbytes == t["bytes"] for t in info["tensors"])
    np.testing.assert_array_equal(tensors["ids"][:70], index.ids)


def test_info_and_verify_say_what_there_is(path: Path) -> None:
    small("LVQ-4-f16").save(path)
    info = cp.info(path)
    assert info == cp.verify(path)
    assert {"method": "LVQ", "format": 1, "version": cp.__version__}.items() <= info.items()
    assert {"primary": 4, "keep": "f16", "metric": "l2", "dim": 2}.items() <= info["params"].items()
    assert info["file_bytes"] == path.stat().st_size


@pytest.mark.parametrize("read", [cp.load, cp.info, cp.verify, cp.Flat.load])
def test_what_cannot_be_read_is_an_oserror(read: object, tmp_path: Path) -> None:
    missing = tmp_path / "missing.cp"
    with pytest.raises(
        FileNotFoundError, match=r"No such file or directory: .*missing\.cp"
    ) as raised:
        read(missing)  # type: ignore[operator]
    assert (raised.value.errno, raised.value.filename) == (errno.ENOENT, str(missing))
    with pytest.raises(IsADirectoryError):
        read(tmp_path)  # type: ignore[operator]
    with pytest.raises(OSError, match="expected a regular file, got a device"):
        read("/dev/zero")  # type: ignore[operator]
    with pytest.raises(TypeError):
        read(3)  # type: ignore[operator]


def test_what_cannot_be_saved_is_an_oserror(tmp_path: Path) -> None:
    index = small("Flat")
    with pytest.raises(FileNotFoundError) as raised:
        index.save(tmp_path / "no folder" / "x.cp")
    assert raised.value.filename == str(tmp_path / "no folder" / "x.cp")
    assert raised.value.errno == errno.ENOENT
    with pytest.raises(OSError) as long:
        index.save(tmp_path / ("x" * 300))
    assert long.value.errno == errno.ENAMETOOLONG
    with pytest.raises(IsADirectoryError):
        index.save(tmp_path)
    with pytest.raises(OSError, match="expected a regular file, got a device"):
        index.save("/dev/full")
    with pytest.raises(OSError):
        index.save("/proc/counterpoint.cp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_mapped_file_may_be_saved_over(method: str, path: Path) -> None:
    rows = normal(500, 16)
    METHODS[method]("l2").fit(rows).save(path)
    index = cp.load(path, mmap=True)
    found = index.search(rows[:9])
    index.save(path)
    small(method).save(path)
    assert_same(index.search(rows[:9]), found)  # of the file that is no longer there
    index.verify()
    index.add(rows)
    index.save(path)
    assert len(cp.load(path, mmap=True)) == 1000
    index.fit(rows[:5])
    path.unlink()
    index.verify()


def test_a_full_disk_leaves_the_old_file(path: Path) -> None:
    small("Flat").save(path)
    old = path.read_bytes()
    code = """
import resource, sys, numpy as np, counterpoint as cp
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
index = cp.Flat("l2").fit(np.ones((10_000, 16), np.float32))
try:
    index.save(sys.argv[1])
except OSError as error:
    print(error.errno, error.filename)
"""
    ran = python(code, str(path))
    assert ran.stdout == f"{errno.EFBIG} {path}\n", ran.stderr
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
def test_a_killed_save_leaves_the_old_file_or_the_new(durable: bool, path: Path) -> None:
    code = f"""
import sys, numpy as np, counterpoint as cp
rng = np.random.default_rng(1)
indexes = [cp.Flat("l2").fit(rng.random((20_000 + i, 64), np.float32)) for i in range(2)]
indexes[0].save(sys.argv[1])
print("go", flush=True)
while True:
    for index in indexes:
        index.save(sys.argv[1], durable={durable})
"""
    rng = random.Random(1)
    sizes = set()
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"go\n"
        time.sleep(rng.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        sizes.add(len(cp.load(path)))  # every digest checked
    assert sizes <= {20_000, 20_001}
    # What was left lying is never in the way.
    small("Flat").save(path)
    assert len(cp.load(path)) == 3
