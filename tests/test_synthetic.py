"""Synthetic data as Python sees it; its distributions are tested in `core::synth`."""

import numpy as np
import pytest

from counterpoint._counterpoint import synthetic


@pytest.mark.parametrize("shape", ["gaussian", "clusters", "power-law"])
def test_the_seed_decides(shape: str) -> None:
    data, queries = synthetic(shape, 50, 7, 6, 3)  # type: ignore[arg-type]
    assert data.shape == (50, 6) and queries.shape == (7, 6)
    assert data.dtype == queries.dtype == np.float32
    again, _ = synthetic(shape, 50, 7, 6, 3)  # type: ignore[arg-type]
    other, _ = synthetic(shape, 50, 7, 6, 4)  # type: ignore[arg-type]
    assert np.array_equal(data, again) and not np.array_equal(data, other)


def test_every_option_changes_the_data() -> None:
    plain, _ = synthetic("clusters", 50, 1, 6, 3)
    few, _ = synthetic("clusters", 50, 1, 6, 3, clusters=2)
    wide, _ = synthetic("clusters", 50, 1, 6, 3, spread=9.0)
    assert not np.array_equal(plain, few) and not np.array_equal(plain, wide)
    steep, _ = synthetic("power-law", 50, 1, 6, 3, decay=2.0)
    assert steep[:, 5].std() < steep[:, 0].std() / 5


def test_an_unknown_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r'shape: expected .*power-law.*, got "cubes"'):
        synthetic("cubes", 1, 1, 1, 1)  # type: ignore[arg-type]
