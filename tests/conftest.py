"""What every test shares: one thread, fixed seeds, the development data, a few small photographs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from real_photos import photograph
from synthetic_records import JUDGES as JUDGED
from torch import Tensor

from lpie.judges import JUDGES
from lpie.losses import lpips
from lpie.operators import OPERATORS
from lpie.weights.alexnet import SHAPES

torch.set_num_threads(1)

LONGEST = ("test_notebooks", "test_run_all", "test_report", "test_report_page", "test_cluster", "test_loss_modules")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files start first, so that no worker is left with one at the end; short ones follow in order."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Every test starts from the same random state, in whatever order the tests run."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may still draw from it


@pytest.fixture
def unchecked_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors as users see them: without the shape checks of a test run, which would speak first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def people_agree_with_the_judges() -> Iterator[None]:
    """In the invented world the judges have the role that their like has not earned in this one."""
    with pytest.MonkeyPatch.context() as patched:
        for name in JUDGED:
            patched.setitem(JUDGES, name, replace(JUDGES[name], roles=("preference",)))
        yield


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder LPIE_DATA names; tests that need it are skipped without it."""
    named = os.environ.get("LPIE_DATA")
    if not named:
        pytest.skip("LPIE_DATA is not set: it names a folder with the files of data/registry.toml")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"LPIE_DATA={named!r} is not a folder")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium; tests that need it are skipped without it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or pytest.skip("no Chromium is installed")


@pytest.fixture(scope="session")
def small_photos() -> Tensor:
    """Three 64x96 crops of real photographs: (3, 3, 64, 96) float32 sRGB in [0, 1]."""
    places = {"astronaut": (80, 160), "chelsea": (90, 110), "coffee": (120, 250)}
    crops = [photograph(name, slice(y, y + 64), slice(x, x + 96)) for name, (y, x) in places.items()]
    return torch.cat(crops)


@pytest.fixture
def random_alexnet(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """The layers of an AlexNet drawn at random, and heads, which LPIPS reads in place of its file."""
    layers = []
    for out, into, side in SHAPES:
        weight = torch.randn(out, into, side, side) / (into * side**2 / 2) ** 0.5
        layers.append((weight, 0.1 * torch.randn(out), torch.rand(out)))
    monkeypatch.setattr(
        lpips, "alexnet_on", lambda device, dtype: [tuple(t.to(dtype) for t in layer) for layer in layers]
    )
    return layers


@pytest.fixture(autouse=True)
def _tables_as_they_were() -> Iterator[None]:
    """Operators that a study file names join the table; no test sees those of another."""
    rows = dict(OPERATORS)
    yield
    OPERATORS.clear()
    OPERATORS.update(rows)
