"""Files that are whole or not there, and tensors whose files have the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from lpie.records import (
    atomic_path,
    exclusive,
    read_json,
    read_tensors,
    results_folder,
    sharing,
    write_csv,
    write_json,
    write_tensors,
)


def test_the_same_tensors_and_metadata_give_the_same_bytes(tmp_path: Path) -> None:
    tensors = {f"layer.{index}.weight": torch.full((2, 3), float(index)) for index in range(8)}
    metadata = {name: f'{name} é " \\ \n' for name in "abcdefgh"}
    for number in range(6):
        write_tensors(tmp_path / f"{number}.safetensors", tensors, metadata)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    read, described = read_tensors(tmp_path / "0.safetensors")
    assert described == metadata
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_json(tmp_path / "record.json", {"kept": True})
    with pytest.raises(RuntimeError, match="broke"), atomic_path(tmp_path / "record.json") as part:  # noqa: PT012
        part.write_text("half of")
        raise RuntimeError("broke")
    assert json.loads((tmp_path / "record.json").read_text()) == {"kept": True}
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_rewritten_file_keeps_its_mode_and_a_new_one_gets_that_of_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_json(tmp_path / "new.json", {})
    assert (tmp_path / "new.json").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new.json").chmod(0o640)
    write_json(tmp_path / "new.json", {"again": 1})
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_rewritten_file_keeps_its_owner(tmp_path: Path) -> None:
    write_json(tmp_path / "record.json", {})
    os.chown(tmp_path / "record.json", 1234, 2345)
    write_json(tmp_path / "record.json", {"again": 1})
    assert ((tmp_path / "record.json").stat().st_uid, (tmp_path / "record.json").stat().st_gid) == (1234, 2345)


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.json").write_text("{}")
    for name in ("a.json", "new.json"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere" / name)
        write_json(tmp_path / name, {"written": 1})
        assert (tmp_path / name).is_symlink()
        assert json.loads((tmp_path / "elsewhere" / name).read_text()) == {"written": 1}


def test_a_read_only_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    write_json(tmp_path / "record.json", {"kept": True})
    (tmp_path / "record.json").chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"):
        write_json(tmp_path / "record.json", {"kept": False})
    assert json.loads((tmp_path / "record.json").read_text()) == {"kept": True}
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_writing_never_touches_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to the whole process"))
    write_json(tmp_path / "record.json", {})


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    write_json(tmp_path / ("n" * 250 + ".json"), {})
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        read_tensors(tmp_path / "weights.safetensors")


def test_results_lie_where_run_all_says_or_in_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPIE_RESULTS", str(tmp_path))
    assert results_folder("demo") == tmp_path
    monkeypatch.delenv("LPIE_RESULTS")
    monkeypatch.chdir(tmp_path)
    assert results_folder("demo") == Path(__file__).parents[1] / "results" / "demo"


def test_a_compressed_table_reads_back_and_has_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    table = pd.DataFrame({"photo": ["a", "b"], "psnr": [30.25, 31.5]})
    for name in ("first.csv.xz", "second.csv.xz"):
        write_csv(tmp_path / name, table)
    assert (tmp_path / "first.csv.xz").read_bytes()[:2] == b"\xfd7"
    assert (tmp_path / "first.csv.xz").read_bytes() == (tmp_path / "second.csv.xz").read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "first.csv.xz"), table)


def test_a_formula_in_a_table_is_made_text_and_a_signed_number_is_left(tmp_path: Path) -> None:
    texts = ["=1+1", "@sum", "+cmd|' /C calc'!A0", "-2+3+cmd|x", "+0.5 [0.1, 0.9]", "-3.5", "plain"]
    write_csv(tmp_path / "a.csv", pd.DataFrame({"text": texts, "n": range(len(texts))}))
    read = pd.read_csv(tmp_path / "a.csv")["text"].tolist()
    assert read == [f"'{text}" for text in texts[:4]] + texts[4:]


def test_only_one_writer_has_a_folder_for_itself_and_trainings_share_it(tmp_path: Path) -> None:
    with sharing(tmp_path), sharing(tmp_path), pytest.raises(BlockingIOError, match="Another run"):
        exclusive(tmp_path, patience=0).__enter__()
    other = f"from pathlib import Path; from lpie.records import *; sharing(Path({str(tmp_path)!r}), 0).__enter__()"
    with exclusive(tmp_path, patience=0), sharing(tmp_path):  # what a run starts in its own process may write
        refused = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
        started = {**os.environ, "LPIE_LOCKED": str(tmp_path)}
        assert subprocess.run([sys.executable, "-c", other], env=started, check=False).returncode == 0
    assert "Another run is at work" in refused.stderr


def test_only_what_a_dead_process_of_the_package_left_half_written_is_removed(tmp_path: Path) -> None:
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    names = [f".lpie-part-{died.pid}-0123abcd-checkpoint.safetensors", ".part-mine", ".lpie-part-of-mine.txt"]
    for name in names:
        (tmp_path / name).touch()
    with atomic_path(tmp_path / "checkpoint") as alive, exclusive(tmp_path, patience=0):
        assert alive.exists()
        alive.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "checkpoint", *names[1:]}


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").touch()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic link"):
        exclusive(tmp_path / "results").__enter__()


def test_what_is_written_is_recorded_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPIE_OUTPUTS", str(tmp_path / "outputs"))
    write_json(tmp_path / "a.json", {})
    with pytest.raises(RuntimeError, match="broke"), atomic_path(tmp_path / "b.json"):
        raise RuntimeError("broke")
    assert [json.loads(line) for line in (tmp_path / "outputs").read_text().splitlines()] == [str(tmp_path / "a.json")]


@pytest.mark.parametrize("text", ['{"half', "[1, 2]", "[" * 100_000])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        read_json(tmp_path / "run.json")


WITHOUT_UNIX = """
import os, sys
import psutil  # knows Windows by itself
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("chown", "fork", "getuid", "killpg", "setsid", "sysconf", "O_NOFOLLOW"):
    if hasattr(os, name):
        delattr(os, name)
import importlib, pkgutil
import lpie
from typer.testing import CliRunner
from lpie.cli import app
from lpie.records import read_json, write_json
for module in pkgutil.walk_packages(lpie.__path__, "lpie."):
    if not module.name.endswith(("_gpu", "_kernels")):
        importlib.import_module(module.name)
for number in (1, 2):
    write_json("record.json", {"number": number})
assert read_json("record.json") == {"number": 2}
for command in ("enhance", "score"):
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
"""


def test_a_system_without_unix_modules_imports_everything_and_writes_records(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
