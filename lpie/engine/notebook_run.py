"""Executes one notebook through papermill, as a process of its own that never outlives the one that started it.

    python -m lpie.engine.notebook_run INPUT OUTPUT '{"profile": "demo"}' LOCK

Prints a line for each section that begins and each line that the notebook prints. Ends with status 1 if a cell
failed; OUTPUT then holds the error. LOCK is a file descriptor that the kernel inherits: the lock on it is held until
the last process that could still write is gone, even after kill -9 of all others.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import papermill
import psutil
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError

SOCKETS = "lpie-sockets-"  # folders under the temporary directory, then the number of the process
SPEAK_EVERY = 60  # seconds without a line, after which the section at work is said again


class InheritingKernelManager(AsyncKernelManager):
    """A kernel manager whose kernel inherits the lock and talks through sockets in a folder of its own.

    Kernels that start at the same time on network ports can be given the same one.
    """

    lock: int = -1
    sockets: str = ""
    process_group: int | None = None

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if os.name == "posix":
            self.transport = "ipc"
            self.ip = os.path.join(self.sockets, "kernel")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **settings: Any) -> None:
        inherited = {"pass_fds": (self.lock,)} if os.name == "posix" else {}
        await super()._async_launch_kernel(kernel_cmd, **inherited, **settings)
        type(self).process_group = getattr(self.provisioner, "pgid", None)


class Narrator:
    """Says on standard output what the notebook is at; also stands in for the files papermill copies output to."""

    def __init__(self, notebook: Path) -> None:
        self.section, self.since, self.spoken, self.pending = notebook.stem, time.monotonic(), time.monotonic(), ""
        threading.Thread(target=self._remind, daemon=True).start()

    def say(self, line: str) -> None:
        self.spoken = time.monotonic()
        print(line[:160], flush=True)

    def at_cell(self, cell: Any, cell_index: int) -> None:
        """Called by nbclient before each cell: a heading begins a new section."""
        del cell_index
        if cell.cell_type == "markdown" and cell.source.lstrip().startswith("#"):
            self.section, self.since = cell.source.strip().splitlines()[0].lstrip("# "), time.monotonic()
            self.say(self.section)

    def write(self, text: str) -> None:
        *lines, self.pending = (self.pending + text).split("\n")
        for line in lines:
            if line.strip():
                self.say("  " + line.rstrip())

    def flush(self) -> None:
        """Lines are flushed as they are said."""

    def _remind(self) -> None:
        while True:
            time.sleep(1)
            if time.monotonic() - self.spoken > SPEAK_EVERY:
                self.say(f"  still at: {self.section} ({time.monotonic() - self.since:.0f} s)")


def end_with_parent() -> None:
    """Kills the kernel and ends this process once standard input closes, as it does when the parent dies."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # nothing is ever sent
        if InheritingKernelManager.process_group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(InheritingKernelManager.process_group, signal.SIGKILL)
        shutil.rmtree(InheritingKernelManager.sockets, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _remove_sockets_of_the_dead() -> None:
    """Removes the folders of sockets whose process was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SOCKETS}*"):
        owner = folder.name.removeprefix(SOCKETS).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def execute(notebook: Path, output: Path, parameters: dict[str, Any], lock: int) -> None:
    """Run every cell and write `output` after each; raises PapermillExecutionError when one fails."""
    narrator = Narrator(notebook)
    _remove_sockets_of_the_dead()
    with tempfile.TemporaryDirectory(prefix=f"{SOCKETS}{os.getpid()}-") as sockets:
        InheritingKernelManager.lock, InheritingKernelManager.sockets = lock, sockets
        papermill.execute_notebook(
            notebook,
            output,
            parameters,
            progress_bar=False,
            cwd=notebook.parent,
            stdout_file=narrator,
            stderr_file=narrator,
            kernel_manager_class=InheritingKernelManager,
            on_cell_start=narrator.at_cell,
            coalesce_streams=True,
        )


def main(arguments: list[str]) -> int:
    """The command of this module's first lines; returns the exit status."""
    notebook, output, parameters, lock = arguments
    end_with_parent()
    try:
        execute(Path(notebook).resolve(), Path(output).resolve(), json.loads(parameters), int(lock))
    except PapermillExecutionError as error:
        print(f"{error.ename}: {error.evalue}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
