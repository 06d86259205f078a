"""What to install: pyproject.toml, requirements.lock and environment.yml agree, and name what the package imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lpie.extras import EXTRAS, explain, require

PROJECT = Path(__file__).parents[1]
TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
LOCK = (PROJECT / "requirements.lock").read_text()

ROOMS = {"fast": "fast", "photos": "photos", "explore": "lab", "cli": "photos"} | dict.fromkeys(
    ("judges", "evidence", "study", "critic_training", "figures", "engine", "people"), "study"
)
"""The extra that a room may import from at once; every other room has only what the package itself depends on."""

LATE = {
    "engine": "cluster",
    "weights": "data",
    "people": "lab",
    "registry": "data",
    "records": "study",
    "critic": "study",
    "photos": "study",
    "fast": "study",
}
"""The extra that a room may import from inside functions besides, and in modules that only functions import."""

LATE_MODULES = {("weights", "published")}

BESIDE = {"triton"}
"""Comes with torch where there is a GPU."""

NOT_IMPORTED = {"ipykernel", "jupyterlab", "anywidget", "distributed", "dask-jobqueue", "cvvdp", "flip-evaluator"}
"""Dependencies that no module imports, but the notebooks and their server do."""


def declared(extra: str) -> list[Requirement]:
    """The requirements of an extra and of the extras that it names; of the package itself for ''."""
    found = []
    for line in TABLE["optional-dependencies"][extra] if extra else TABLE["dependencies"]:
        requirement = Requirement(line)
        if requirement.name == "lpie":
            found += [inner for name in sorted(requirement.extras) for inner in declared(name)]
        else:
            found.append(requirement)
    return found


def names(extra: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in declared(extra)}


installed = cache(packages_distributions)


def imports(node: ast.AST) -> Iterator[str]:
    """Other people's packages imported in a syntax tree, by their names on the package index."""
    for inner in ast.walk(node):
        modules = []
        if isinstance(inner, ast.Import):
            modules = [alias.name for alias in inner.names]
        elif isinstance(inner, ast.ImportFrom) and inner.module:
            modules = [inner.module]
        for module in {name.split(".")[0] for name in modules} - {"lpie", *BESIDE} - sys.stdlib_module_names:
            yield canonicalize_name(installed().get(module, [module])[0])


def room_of(path: Path) -> str:
    return path.relative_to(PROJECT / "lpie").with_suffix("").parts[0]


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "lpie").rglob("*.py")), ids=lambda path: f"{room_of(path)}-{path.stem}"
)
def test_a_room_imports_only_what_its_extra_brings(path: Path) -> None:
    room = room_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = names("") | (names(ROOMS[room]) if room in ROOMS else set())
    later = allowed | (names(LATE[room]) if room in LATE else set())
    at_once = {name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for name in imports(node)}
    assert at_once <= (later if (room, path.stem) in LATE_MODULES else allowed)
    inside = {name for node in tree.body if not isinstance(node, ast.If) for name in imports(node)}
    assert inside <= later


def test_every_dependency_is_imported_somewhere() -> None:
    used = {
        name
        for folder in ("lpie", "bench")
        for path in (PROJECT / folder).rglob("*.py")
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert names("lab") | names("cluster") <= used | NOT_IMPORTED


def test_what_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require("photos")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ModuleNotFoundError, match=r'tifffile not installed: pip install "lpie\[photos\]"'):
        require("photos")
    absent = ModuleNotFoundError("No module named 'h5py'", name="h5py")
    assert 'pip install "lpie[data]"' in str(explain(absent))
    stranger = ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    assert explain(stranger) is stranger


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_are_those_that_it_installs(extra: str) -> None:
    added = {
        canonicalize_name(Requirement(line).name)
        for line in TABLE["optional-dependencies"][extra]
        if Requirement(line).name != "lpie"
    }
    assert {canonicalize_name(installed()[module][0]) for module in EXTRAS[extra]} == added


CORE = """
import sys
for module in {absent!r}:
    sys.modules[module] = None
import torch, lpie
photo, target = torch.rand(2, 1, 3, 64, 64)
critic = lpie.NIMA.from_pretrained("compact")
network = lpie.ContextAggregationNetwork(width=24)
lpie.PerceptualObjective(fidelity="ssim", critic=critic, gamma=0.01)(network(photo), target).backward()
lpie.BilateralGrid()(photo), lpie.OperatorParameters("tone")(photo)
lpie.local_laplacian(photo, alpha=0.5, beta=0.7, sigma_r=0.2), lpie.dehaze(photo), lpie.ssim(photo, target)
try:
    lpie.read_photo("photo.jpg")
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.slow
def test_the_core_works_with_what_the_package_itself_depends_on() -> None:
    absent = sorted({module for modules in EXTRAS.values() for module in modules})
    done = subprocess.run(
        [sys.executable, "-c", CORE.format(absent=absent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'pip install "lpie[photos]"' in done.stdout


def test_the_command_line_names_what_is_missing_in_one_line() -> None:
    code = "import sys; sys.modules['typer'] = None; from lpie.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ['lpie: typer not installed: pip install "lpie[photos]"']


def pins() -> dict[str, list[Version]]:
    """Every version that the lock pins a package to; several where they depend on the Python version."""
    found: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", LOCK, re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(Version(version))
    return found


@pytest.mark.parametrize("requirement", declared("") + declared("all"), ids=str)
def test_every_direct_dependency_is_locked_within_its_range(requirement: Requirement) -> None:
    versions = pins().get(canonicalize_name(requirement.name))
    assert versions, f"{requirement.name} is not in requirements.lock"
    assert all(version in requirement.specifier for version in versions)


def test_torch_and_torchvision_are_the_pair_that_fits() -> None:
    assert pins()["torch"] == [Version("2.15.0")]
    assert pins()["torchvision"] == [Version("0.29.2")]


def test_every_pin_has_a_hash_and_nothing_has_an_address() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in LOCK
    assert not re.search(r"^-", LOCK, re.MULTILINE)


def test_conda_installs_the_same_lock_on_a_python_that_the_package_accepts() -> None:
    environment = (PROJECT / "environment.yml").read_text()
    lines = [line.strip() for line in environment.splitlines() if not line.startswith("#")]
    assert "- -r requirements.lock" in lines
    assert f"- python{TABLE['requires-python']}" in lines
    assert "pip install --no-deps --editable ." in environment


def test_make_asks_for_the_python_that_the_package_accepts_and_checks_hashes() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    major, minor = TABLE["requires-python"].removeprefix(">=").split(".")
    assert f"sys.version_info < ({major}, {minor})" in makefile
    assert "--require-hashes" in makefile
