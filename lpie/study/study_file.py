"""Reads a `study.toml`, and says what is wrong with it and where."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import partial
from hashlib import sha256
from importlib import import_module
from inspect import getsourcefile
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lpie.critic import CRITICS, Critic
from lpie.names import ProblemsError, find, late
from lpie.operators import OPERATORS, Operator
from lpie.registry import registered
from lpie.study import settings
from lpie.study.settings import Photographs, Profile

PROFILES = Path(__file__).with_name("profiles")


def profile_names() -> list[str]:
    """The built-in profiles."""
    return ["smoke", "demo", "study", "pairs", "fivek"]


def find_profile(name: str | Path) -> Profile:
    """The built-in profile called `name`, or what the study file of that name holds; errors as `read_study`.

    Raises ValueError that lists the known ones, and FileNotFoundError for a study file that is not there.
    """
    built_in = PROFILES / f"{name}.toml"
    if built_in.is_file():
        return read_study(built_in)
    if not str(name).endswith(".toml"):
        find(dict.fromkeys((*profile_names(), "a .toml file")), str(name), "profile")
    return read_study(Path(name))


def read_study(path: Path) -> Profile:
    """What a study file holds, every name checked; operators, critics and rows that it brings join the tables.

    Folders in it are meant relative to the file. Raises FileNotFoundError, and ValueError with one line for each thing
    that is wrong: the file, the line, what was expected, the near miss.
    """
    try:
        text = path.read_text(encoding="utf-8")
        written = tomllib.loads(text)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no study file {path}: `lpie study init FOLDER` writes one.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        written = {
            "name": path.resolve().parent.name if path.stem == "study" else path.stem,
            **written,
            **_bring_rows(written, path),
        }
        profile = TypeAdapter(Profile).validate_python(written)
    except ValidationError as error:
        wrong = [problem for problem in error.errors() if problem["type"] != "too_short" or not error.errors()[1:]]
        raise ProblemsError(f"{path}, {_explain(problem, text)}" for problem in wrong) from error
    except (ValueError, ImportError) as error:
        raise ValueError(f"{path}: {error}") from error
    return replace(profile, photographs=tuple(_beside(rows, path) for rows in profile.photographs))


def asked_profile(parameters: Mapping[str, Any]) -> tuple[Profile, dict[str, Any]]:
    """The profile or study file that `parameters` of a notebook name, changed by those that are not None, and these.

    `photographs`: a set of the registry, or a folder; `networks`, `fidelities`, `critics`, `gammas`, `seeds`,
    `operators`: instead of the profile's; `steps`: of every network; others: a setting of the operators that have it.
    Raises ValueError for what the profile could not hold either.
    """
    study = parameters.get("study")
    profile = find_profile(Path(study).absolute() if study else parameters.get("profile", "demo"))
    given = {name: value for name, value in parameters.items() if name not in CHOOSING and value is not None}
    if not given:
        return profile, given
    swept = {name: _listed(name, value) for name, value in given.items() if name in SWEPT}
    settings = {
        operator: profile.settings.get(operator, {}) | {name: given[name] for name in given if name in known}
        for operator in swept.get("operators", profile.operators)
        if (known := [field.name for field in fields(OPERATORS[operator].settings())])
    }
    lasting = {name: getattr(profile, name) for name in PROFILE_NAMES} | swept | {"settings": settings}
    if "photographs" in given:
        sets = {"demo", *(Path(name).parent.as_posix() for name in registered())}
        lasting["photographs"] = [{"set" if given["photographs"] in sets else "folder": str(given["photographs"])}]
    if "seeds" in given and profile.fewer_seeds:
        lasting["fewer_seeds"] = [seed for seed in profile.fewer_seeds if seed in swept["seeds"]]
    if "steps" in given:
        for name in ("schedule", "own_schedules", "first_phases"):
            lasting[name] = _with_steps(lasting[name], given["steps"])
    try:
        lasting |= _bring_rows(swept, Path.cwd() / "study.toml")
        return TypeAdapter(Profile).validate_python(lasting), given
    except ValidationError as error:
        problems = [": ".join(filter(None, (".".join(map(str, part["loc"])), _said(part)))) for part in error.errors()]
        raise ValueError("Parameters: " + "; ".join(problems)) from error


CHOOSING = ("profile", "study", "operator")
SWEPT = ("networks", "fidelities", "critics", "gammas", "seeds", "operators")
PROFILE_NAMES = tuple(field.name for field in fields(Profile))


def _listed(name: str, value: Any) -> list[Any]:
    """A list as papermill's -p gives it, in words; one value alone is a list of one."""
    try:
        value = ast.literal_eval(value) if isinstance(value, str) and value.lstrip().startswith(("[", "(")) else value
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"Parameters: {name} is a list such as ['grid'] or [0.003, 0.02], got {value!r}.") from error
    return list(value) if isinstance(value, list | tuple) else [value]


def _with_steps(schedule: Any, steps: int) -> Any:
    if isinstance(schedule, dict):
        return {name: _with_steps(one, steps) for name, one in schedule.items()}
    marks = {name: min(getattr(schedule, name), steps) for name in ("checkpoint_every", "validate_every")}
    return replace(schedule, steps=steps, **marks)


def _bring_rows(written: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Imports the modules that may add rows, and makes rows of operators and critics that are not in the tables.

    Returns the critics by the names of their rows.
    """
    for module in _texts(written, "modules"):
        import_module(module)
    for name in _texts(written, "operators"):
        if name == "pairs":
            OPERATORS[name] = Operator(name, "retouching", NoSettings, _no_operator)
        elif ":" in name:
            OPERATORS[name] = _own_operator(name)
    critics = []
    for name in _texts(written, "critics"):
        if name.endswith(".safetensors"):
            file = path.parent / name
            if not file.is_file():
                raise ValueError(f"There is no critic file {file}.")
            name = f"{file.stem}-{sha256(file.read_bytes()).hexdigest()[:6]}"
            CRITICS[name] = Critic(name, f"NIMA ({file.stem})", late("lpie.critic.nima:NIMA.from_pretrained", file))
        critics.append(name)
    return {"critics": critics} if critics else {}


def _texts(written: Mapping[str, Any], key: str) -> list[str]:
    listed = written.get(key, ())
    return [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []


@dataclass(frozen=True)
class NoSettings:
    """The settings of an operator that has none."""


@dataclass(frozen=True)
class OwnSettings:
    """Of an operator from elsewhere: which text of its module made a target."""

    source: str


def _own_operator(name: str) -> Operator:
    module, _, function = name.partition(":")
    apply = getattr(import_module(module), function, None)
    if not callable(apply):
        raise ValueError(f"Module {module} has no function {function!r} for the operator {name}.")
    source = sha256(Path(getsourcefile(import_module(module)) or "").read_bytes()).hexdigest()[:8]
    return Operator(name, function.replace("_", " "), partial(OwnSettings, source), partial(_call, apply))


def _call(apply: Callable[[Any], Any], photo: Any, settings: OwnSettings) -> Any:
    """What a function from photo to photo makes of one; raises ValueError where it changes the size."""
    rendition = apply(photo)
    if getattr(rendition, "shape", None) != photo.shape:
        shape = tuple(getattr(rendition, "shape", ())) or type(rendition).__name__
        raise ValueError(f"expected a photo of the same shape {tuple(photo.shape)}, got {shape}")
    return rendition


def _no_operator(photo: Any, settings: NoSettings) -> Any:
    raise ValueError("pairs have no operator: their targets are photographs.")


def _beside(rows: Photographs, path: Path) -> Photographs:
    """The folders of `rows`, meant relative to the study file, as they are seen from anywhere."""

    def seen(place: str) -> str:
        beside = path.parent.resolve() / place
        return str(beside) if place and not place.startswith(("$", "~")) and beside.parent.is_dir() else place

    return replace(rows, folder=seen(rows.folder), input=seen(rows.input), target=seen(rows.target))


# What is wrong, and where -------------------------------------------------------------------------------------------


def _explain(problem: Any, text: str) -> str:
    """One sentence: the line, the setting, what is wrong with it, and the near miss of a name that is unknown."""
    place = [part for part in problem["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    line, where = _line_of(text, place), ".".join(map(str, place))
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = get_close_matches(str(place[-1]), KNOWN, n=1) if place[-1] not in KNOWN else []
        return f"line {line}: there is no setting {where} here." + (f" Did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return f"line {line}: {where} is missing."
    said = _said(problem)
    if place:
        return f"line {line}: {where}: {said}"
    quoted = re.search(r"'(.+?)'", said)  # of the whole study: the line of the name that is quoted
    lines = [n for n, one in enumerate(text.splitlines(), 1) if quoted and quoted[1] in one.partition("#")[0]]
    return f"line {lines[0]}: {said}" if lines else said


def _said(problem: Any) -> str:
    """What was expected and what came."""
    if problem["type"] == "tuple_type":
        return f"expected a list, such as {json.dumps([problem['input']], default=str)}, got {problem['input']!r}"
    if problem["type"] == "too_short":
        return "expected a list of at least one, got none"
    expected = problem["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    expected = re.sub("a dictionary.*", "a table", expected)
    came = f", got {problem['input']!r}" if problem["msg"].startswith("Input") else ""
    return re.sub("^expected (?=greater|less)", "expected a number ", expected) + came


KNOWN = sorted(
    {
        field.name
        for part in vars(settings).values()
        if isinstance(part, type) and is_dataclass(part) and part is not settings.Study
        for field in fields(part)
    }
)


def _line_of(text: str, place: Sequence[Any]) -> int:
    """The line, from 1, at which the longest part of `place` stands that is written in `text`."""
    table: list[Any] = []
    counts: Counter[str] = Counter()
    best = (0, 1)
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]", line):
            table = re.findall(r"[\w:-]+", header[2])
            if header[1] == "[[":
                counts[table[0]] += 1
            if table[0] in counts:
                table.insert(1, counts[table[0]] - 1)
            here = table
        elif key := re.match(r"\s*[\"']?([\w:-]+)[\"']?\s*=", line):
            here = [*table, key[1]]
        else:
            continue
        apart = (depth for depth, (one, other) in enumerate(zip(here, place, strict=False)) if one != other)
        agreed = next(apart, min(len(here), len(place)))
        best = (agreed, number) if agreed > best[0] else best
    return best[1]
