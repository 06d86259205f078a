"""Makes the pages of `make docs`: the README, one page a room from its docstrings, and the executed notebooks."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "lpie"
NOTEBOOKS = PROJECT / "results" / "published" / "notebooks"


FIRST = ("operators", "networks", "losses", "critic", "imaging", "photos", "judges")
"""The rooms that most readers look for; the others follow by name."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The menu: the README, the rooms, the page on clusters, the notebooks."""
    rooms = [{room.name: f"package/{room.name}.md"} for room in _rooms()]
    machines = {"Several machines": "several_machines.md"}
    config.nav = [{"lpie": "index.md"}, {"Package": rooms}, machines, {"Notebooks": "notebooks/index.md"}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every page that is made to what mkdocs found in the folder."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme))
    for target in _linked_files(readme):
        files.append(File.generated(config, target, abs_src_path=str(PROJECT / target)))
    for room in _rooms():
        files.append(File.generated(config, f"package/{room.name}.md", content=_room_page(room)))
    files.append(File.generated(config, "notebooks/index.md", content="\n".join(_list_of_notebooks())))
    for path in _notebooks():
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
    return files


def _rooms() -> list[Path]:
    rooms = {path.parent.name: path.parent for path in PACKAGE.glob("*/__init__.py")}
    return [rooms[name] for name in (*FIRST, *sorted(rooms.keys() - set(FIRST)))]


def _linked_files(text: str, folder: Path = PROJECT) -> set[str]:
    """Files of the checkout that a text links to, and what they link to; each keeps its place, so links are checked."""
    found = set()
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        path = (folder / target).resolve()
        if "://" not in target and path.is_file():
            found.add(path.relative_to(PROJECT).as_posix())
            if path.suffix == ".md":
                found |= _linked_files(path.read_text(encoding="utf-8"), path.parent)
    return found


def _room_page(room: Path) -> str:
    own = f"::: lpie.{room.name}\n    options:\n      show_root_heading: false"
    modules = [f"::: lpie.{room.name}.{path.stem}" for path in sorted(room.glob("[!_]*.py"))]
    return "\n\n".join([f"# lpie.{room.name}", own, *modules])


def _notebooks() -> list[Path]:
    return sorted(NOTEBOOKS.glob("*.html"))


def _list_of_notebooks() -> Iterator[str]:
    yield from ("# Notebooks", "", "As they were executed for the published study.", "")
    for path in _notebooks():
        heading = re.search(r"<h1[^>]*>(.*?)<(?:a|/h1)", path.read_text(encoding="utf-8"), re.DOTALL)
        yield f"- [{html.unescape(heading.group(1)) if heading else path.stem}]({path.name})"
