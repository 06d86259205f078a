"""The three lists of what to install agree: pyproject.toml, requirements.lock, environment.yml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).parents[1]
TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
LOCK = (PROJECT / "requirements.lock").read_text()
DIRECT = [
    Requirement(line)
    for group in (TABLE["dependencies"], *(TABLE["optional-dependencies"][extra] for extra in ("lab", "dev")))
    for line in group
]


def pins() -> dict[str, list[Version]]:
    """Every version that the lock pins a package to; several where they depend on the Python version."""
    found: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", LOCK, re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(Version(version))
    return found


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
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
