"""The shape of the project, read from syntax trees: layers, what may not be imported, how notebooks are kept."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from dataclasses import asdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from lpie.engine.notebook_parameters import STUDY_PARAMETERS, declared_parameters
from lpie.operators import ToneSettings

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "lpie"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
BESIDE = ("explore", "instruments", "taste")
"""Notebooks that are read or played with for themselves, and are no part of the study."""

OF_THE_STUDY = [path for path in NOTEBOOKS if path.stem not in BESIDE]

ROOMS: tuple[tuple[str, ...], ...] = (
    ("vocabulary", "names", "extras", "records", "registry", "weights"),
    ("imaging",),
    ("fast",),
    ("operators", "critic"),
    ("losses",),
    ("networks", "judges"),
    ("photos",),
    ("evidence",),
    ("people",),
    ("study",),
    ("critic_training",),
    ("figures",),
    ("engine",),
    ("explore", "cli"),
    ("__main__",),
)
"""The rooms of the house, from the ground up; a module imports from its own room or a lower floor."""

CORE = ("imaging", "operators", "losses", "critic", "networks")
"""The small helper package: what most users ever read. No setting of an experiment, no results, no logger."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Full names of the modules that a file imports anywhere, also inside functions and under TYPE_CHECKING."""
    known = {name_of(module) for module in MODULES}
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known
            names |= inner if len(inner) == len(node.names) else inner | {node.module}
    return frozenset(names)


def room_of(name: str) -> str:
    """The folder of a module, or its own name at the root."""
    return name.split(".")[1] if "." in name else ""


def floor_of(name: str) -> int:
    room = room_of(name)
    for floor, rooms in enumerate(ROOMS):
        if room in rooms:
            return floor
    raise AssertionError(f"{name} stands in no room: give it its place in ROOMS")


def own_imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, apart from the package itself."""
    return {name for name in imports_of(path) if name.startswith("lpie.")} - {name_of(path)}


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(name_of(path))], ids=name_of)
def test_a_module_imports_from_its_own_room_or_from_a_lower_floor(path: Path) -> None:
    name = name_of(path)
    upward = [
        other
        for other in own_imports(path)
        if room_of(other) != room_of(name) and floor_of(other) >= floor_of(name) and floor_of(name) > 0
    ]
    assert not upward, f"{name} may not import {upward}"


def test_every_room_has_a_place_and_every_place_a_room() -> None:
    rooms = {room_of(name_of(path)) for path in MODULES} - {""}
    assert rooms == {room for floor in ROOMS for room in floor}


def test_the_picture_of_the_house_in_the_readme_is_that_of_the_code() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    drawn = text.split("## Layout of the code")[1].split("```")[1].strip().splitlines()
    floors = [tuple(re.split(r"\s{2,}", line)[0].split(", ")) for line in drawn]
    assert floors[::-1] == [floor for floor in ROOMS if floor != ("__main__",)]


def test_no_module_imports_itself_in_a_circle_however_late() -> None:
    TopologicalSorter({name_of(path): own_imports(path) for path in MODULES}).prepare()


def test_at_most_eight_modules_stand_at_the_root() -> None:
    assert len([path for path in MODULES if path.parent == PACKAGE]) <= 8


def test_the_core_and_the_package_grow_no_further() -> None:
    """Ratchets at what was reached, to be lowered with every line that goes: 3,200 and 13,000 are the aims."""
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert sum(count for name, count in lines.items() if room_of(name) in CORE) <= 3200
    assert sum(lines.values()) <= 21_371


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(name_of(path)) in CORE], ids=name_of)
def test_the_core_knows_no_study_no_results_and_no_logger(path: Path) -> None:
    above = {name for name in own_imports(path) if floor_of(name) > floor_of("lpie.networks")}
    seen = imports_of(path) & {"lpie.records", "logging"}
    assert not above | seen, f"{name_of(path)} imports {sorted(above | seen)}"


@pytest.mark.parametrize("name", ["evidence", "figures", "engine", "cli", "people", "study.settings"])
def test_what_draws_counts_and_runs_never_waits_for_torch(name: str) -> None:
    within = [path for path in MODULES if f"{name_of(path)}.".startswith(f"lpie.{name}.")]
    assert within
    for path in within:
        _waits_for_no_torch(path)


def _waits_for_no_torch(path: Path) -> None:
    reached, waiting = set(), {name_of(path)}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        found = next((path for path in MODULES if name_of(path) == module), None)
        if found:
            waiting |= {other for other in _at_import(found) if other not in reached}
    assert "torch" not in {module.split(".")[0] for module in reached}, name_of(path)


def _at_import(path: Path) -> set[str]:
    """What importing a module imports at once, leaving out the bodies of functions."""
    names: set[str] = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= modules & {name_of(module) for module in MODULES} or {node.module}
    return names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_unpickled_and_nothing_is_asserted(path: Path) -> None:
    assert not imports_of(path) & {"pickle", "joblib", "dill", "cloudpickle", "shelve"}
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"torch\.(load|save)\(|allow_pickle\s*=\s*True|read_pickle|\beval\(\s*(input|open)", text)
    assert not [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_thing_of_a_module_has_a_docstring(path: Path) -> None:
    named = [
        node for node in tree_of(path).body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
    ]
    assert ast.get_docstring(tree_of(path)), "the module itself"
    assert [node.name for node in named if not ast.get_docstring(node)] == []


@cache
def tracked() -> tuple[Path, ...]:
    """The files that git knows; in an archive without git, those that a project has."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    return tuple(PROJECT / name for name in names if name and (PROJECT / name).is_file())


def test_no_committed_text_names_a_machine_or_a_package_host() -> None:
    # a letter in brackets each, so that this file does not hold what it looks for
    patterns = [r"/wor[k]/(main|shared|\.)", r"/hom[e]/\w", r"/roo[t]\b", r"/User[s]/\w", r"pyp[i]\.org"]
    patterns += [r"files\.python[h]osted", r"download\.pytorc[h]\.org", r"registry\.npm[j]s"]
    kinds = {".py", ".md", ".toml", ".yml", ".cff", ".lock", ".ipynb", ".json", ".csv", ".html", ".svg", ""}
    found = [
        f"{path.relative_to(PROJECT)}: {match.group()}"
        for path in tracked()
        if path.suffix in kinds
        for match in [re.search("|".join(patterns), path.read_text(encoding="utf-8", errors="ignore"))]
        if match
    ]
    assert not found


def test_what_is_committed_stays_small_and_holds_no_data() -> None:
    sizes = {path.relative_to(PROJECT): path.stat().st_size for path in tracked()}
    published = sum(size for path, size in sizes.items() if path.parts[:2] == ("results", "published"))
    weights = {path.stem: size for path, size in sizes.items() if path.suffix == ".safetensors"}
    scoring = [weights.pop(name) for name in ("compact", "robust", "niqe")]
    assert published <= 25e6
    assert max(scoring) <= 7e6
    assert sum(weights.values()) <= 6e6  # networks that enhance
    data = [str(path) for path in sizes if path.parts[0] == "data" and path.name not in ("README.md", "registry.toml")]
    assert data == []


# Notebooks -----------------------------------------------------------------------------------------------------------


@cache
def notebook_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def sources(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook_of(path)["cells"] if cell["cell_type"] == kind]


def test_the_notebooks_are_those_of_the_study_and_those_beside_it() -> None:
    from lpie.engine.run_all import study_graph

    named = {name.partition("-")[0] for name in study_graph(("tone", "dehaze"))}
    assert {path.stem for path in OF_THE_STUDY} == {*named, "run_all"} - set(BESIDE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_as_it_was_written(path: Path) -> None:
    notebook = notebook_of(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    identities = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_asks_first_and_leaves_the_computing_to_the_package(path: Path) -> None:
    cells = notebook_of(path)["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert "?" in "".join(cells[0]["source"])
    code, text = sources(path, "code"), sources(path, "markdown")
    lines = [len([line for line in cell.splitlines() if line.strip()]) for cell in code]
    assert median(lines) <= 4
    assert len(text) >= len(code) / 2
    for cell in code:
        plain = "\n".join(line for line in cell.splitlines() if not line.startswith(("%", "!")))
        kinds = ast.FunctionDef | ast.ClassDef | ast.While
        assert not [node for node in ast.walk(ast.parse(plain)) if isinstance(node, kinds)], cell


@pytest.mark.parametrize("path", OF_THE_STUDY, ids=lambda path: path.stem)
def test_a_notebooks_parameters_are_the_defaults_of_the_package(path: Path) -> None:
    tagged = [cell for cell in notebook_of(path)["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    declared = declared_parameters(path)
    assert next(iter(declared)) == "profile"
    tone = asdict(ToneSettings())
    for name, value in declared.items():
        if name in tone:
            assert value in (None, tone[name]), f"{name} differs from its default in lpie.operators"
        else:
            assert name in STUDY_PARAMETERS, f"{name} is no setting of a study"
            assert value == {"profile": "demo", "operator": "tone"}.get(name), f"{name} = None: as the profile says"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_stops_on_parameters_that_it_does_not_declare(path: Path) -> None:
    code = sources(path, "code")
    position = next(place for place, cell in enumerate(code) if re.search(r"start_\w+\(|run_study", cell))
    assert position <= 1, "start_study(globals()) belongs into the first cell after the parameters"
