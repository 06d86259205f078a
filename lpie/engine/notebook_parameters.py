"""What a notebook lets its user set: the names in its cell tagged `parameters`, and a stop for any other name."""

from __future__ import annotations

import ast
import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from lpie.evidence.results import is_gathered
from lpie.names import find
from lpie.records import results_folder, write_json
from lpie.study.settings import Profile, digest_of
from lpie.study.study_file import CHOOSING, SWEPT, asked_profile


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Names and values in the notebook's cell tagged `parameters`, None for no literal; errors as `cells_of`."""
    for cell in cells_of(notebook):
        if "parameters" in cell["metadata"].get("tags", []):
            return _assignments(cell["source"])
    return {}


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook in format 4, each source as one string.

    Raises ValueError where the file is no such notebook. (nbformat does the same after two seconds of imports.)
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return [{**cell, "source": "".join(cell["source"])} for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{notebook}: expected a Jupyter notebook in format 4 ({error!r}).") from error


def start_study(given: Mapping[str, Any]) -> tuple[Profile, Path]:
    """`start_notebook`, then the study that the notebook's parameters ask for and the folder of its results.

    `given`: the notebook's `globals()`. Where a parameter changes the profile, the folder is one of its own.
    """
    start_notebook()
    parameters = {name: given[name] for name in STUDY_PARAMETERS if name in given}
    profile, changes = asked_profile(parameters)
    folder = results_folder(profile.name)
    if "LPIE_RESULTS" not in os.environ:
        folder = folder_of(profile.name, changes)
    if "LPIE_LOCKED" not in os.environ and not is_gathered(folder):
        write_study(folder, profile)
    return profile, folder


STUDY_PARAMETERS = (*CHOOSING, *SWEPT, "photographs", "steps", "alpha", "beta", "sigma_r")


def folder_of(name: str, changes: Mapping[str, Any]) -> Path:
    """`results/<name>`; with changes a folder beside it, so that they never replace the profile's results."""
    folder = results_folder(name)
    return folder.with_name(f"{folder.name}-{digest_of(dict(changes))}") if changes else folder


def write_study(folder: Path, profile: Profile) -> None:
    """Keep what is studied as study.json of its results, from which the criteria of a recipe are read."""
    write_json(folder / "study.json", asdict(profile))


def start_notebook() -> None:
    """Shows the package's progress as lines in the notebook, and stops on parameters that it does not declare.

    Papermill only warns of a parameter that no cell declares and goes on with the defaults. It marks the cell it
    injects with a comment; where such a cell ran, its names are held against the cell before it.
    """
    root = logging.getLogger("lpie")
    if not root.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    pd.set_option("display.max_colwidth", None)  # claims are sentences
    root.propagate = False  # some libraries set up the root logger, which would say each line again
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    ran: list[str] = shell.user_ns.get("In", []) if shell else []
    for declaring, injected in pairwise(ran):
        if injected.startswith("# Parameters\n"):
            declared = _assignments(declaring)
            for name in _assignments(injected):
                find(declared, name, "parameter of this notebook")


def _assignments(source: str) -> dict[str, Any]:
    """The literal assignments of a cell; a value that is no literal counts as None."""
    values: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values.update({target.id: _literal(node.value) for target in targets if isinstance(target, ast.Name)})
    return values


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None
