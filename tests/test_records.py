"""Files that are whole or not there, and tensors whose files have the same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from lpie.records import atomic_path, read_tensors, results_folder, write_csv, write_json, write_tensors


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
