"""The command `lpie`, also as `python -m lpie`; what is not installed is named in one line."""

from __future__ import annotations

import sys

from lpie.extras import explain


def main() -> None:
    """Run the command line, or end with status 2 and the extra that brings what is missing."""
    try:
        from lpie.cli import app

        app()
    except ModuleNotFoundError as error:
        print(f"lpie: {explain(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
