"""One command-line option for each field of a dataclass, its default the field's own."""

from __future__ import annotations

import argparse
from dataclasses import fields


def add_settings(parser: argparse.ArgumentParser, settings: type) -> None:
    """Give `parser` an option for every field of the dataclass `settings`; flags get a `--no-` form as well."""
    for setting in fields(settings):
        option = "--" + setting.name.replace("_", "-")
        if isinstance(setting.default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=setting.default)
        else:
            parser.add_argument(option, type=type(setting.default), default=setting.default)
