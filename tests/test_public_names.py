"""The names that others call: there, quick to import, and functions whatever was imported before."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import lpie


@pytest.mark.parametrize("name", [name for name in lpie.__all__ if name != "__version__"])
def test_every_public_name_leads_to_something_callable(name: str) -> None:
    assert callable(getattr(lpie, name))
    assert name in dir(lpie)


def test_importing_the_package_does_not_wait_for_torch() -> None:
    code = "import sys, lpie; print('torch' in sys.modules, 'numpy' in sys.modules, lpie.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["False", "False"]


def test_no_module_takes_the_place_of_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(lpie.__path__)}
    assert not modules & set(lpie.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'enhanced'"):
        _ = lpie.enhanced
