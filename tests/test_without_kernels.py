"""The folder of kernels is optional: without it everything still works, slower."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lpie

TESTS = ("test_tables.py", "test_losses.py", "test_operator_parameters.py", "test_bilateral_grid.py")
HERE = Path(__file__).parent
SHARED = {path.name for path in HERE.glob("*.py")} - {path.name for path in HERE.glob("test_*.py")}


@pytest.fixture
def without_kernels(tmp_path: Path) -> Path:
    """A copy of the package and of its tests in which `lpie/fast` is missing."""
    package = Path(lpie.__file__).parent
    shutil.copytree(package, tmp_path / "lpie", ignore=shutil.ignore_patterns("fast", "__pycache__"))
    for name in (*TESTS, *SHARED):
        shutil.copy(HERE / name, tmp_path / name)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_core_passes_its_tests_without_the_folder_of_kernels(without_kernels: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(without_kernels)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, cwd=without_kernels, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


RESULTS = """
import sys
import torch
import lpie
from lpie.imaging.kernels import find

torch.manual_seed(0)
torch.set_num_threads(1)
photo = torch.rand(1, 3, 176, 170)
other = (photo + 0.05 * torch.randn_like(photo)).clamp(0, 1)
torch.manual_seed(0)
network = lpie.ContextAggregationNetwork(24)
with torch.no_grad():
    for parameter in network.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    print(find("similarity", photo) is not None)
    print(lpie.ssim(photo, other).item(), lpie.ms_ssim(photo, other).item())
    toned = lpie.local_laplacian(photo, alpha=0.5, beta=0.7, sigma_r=0.2, samples=16)
    print(toned.mean().item(), network(photo).mean().item())
    print(lpie.NIMA.from_pretrained("compact").mean_score(photo).item())
"""


def test_results_are_the_same_with_and_without_kernels(without_kernels: Path) -> None:
    found = []
    for root in (Path(lpie.__file__).parents[1], without_kernels):
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(
            [sys.executable, "-c", RESULTS], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        has_kernels, *numbers = done.stdout.split()
        found.append([float(number) for number in numbers])
        assert has_kernels == str(root != without_kernels)
    assert found[1] == pytest.approx(found[0], abs=1e-4)
