"""The registry finds, checks and downloads; a server on this machine stands in for the real ones."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lpie import registry

CONTENT = b"the registered bytes" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT, other bytes, or half of what it promises; counts the requests."""

    requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        body = b"tampered" if "wrong" in self.path else CONTENT
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if "truncated" in self.path else body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def private_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of five files whose addresses lead to this machine; no LPIE_DATA, an empty cache."""
    table = f"""
[[source]]
folder = "photos"
about = "for tests"
license = "none"
bytes = 1
repository = "owner/name"
commit = "0123"
root = "some folder"
[source.renamed]
"b.jpg" = "its other name.jpg"
[source.files]
"b.jpg" = "{SHA256}"
"a.jpg" = "{SHA256}"
"wrong.jpg" = "{SHA256}"
"truncated.jpg" = "{SHA256}"
"missing.jpg" = "{SHA256}"

[[source]]
folder = "reduced"
about = "for tests"
license = "none"
bytes = 1
[source.files]
"c.jpg" = "{SHA256}"
"""
    (tmp_path / "registry.toml").write_text(table)
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "registry.toml")
    monkeypatch.setenv("LPIE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LPIE_DATA", raising=False)
    registry.sources.cache_clear()
    monkeypatch.setattr(registry, "ADDRESS", "http://127.0.0.1:1/{repository}/{commit}/{path}")
    yield
    registry.sources.cache_clear()


@pytest.fixture
def online(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(registry, "ADDRESS", f"http://127.0.0.1:{server.server_port}/{{path}}")
    registry.sources.cache_clear()
    return server


def put(folder: Path, name: str, content: bytes = CONTENT) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_an_address_is_repository_commit_and_quoted_path() -> None:
    files = registry.registered()
    assert files["photos/a.jpg"].address == "http://127.0.0.1:1/owner/name/0123/some%20folder/a.jpg"
    assert files["photos/b.jpg"].address == "http://127.0.0.1:1/owner/name/0123/some%20folder/its%20other%20name.jpg"
    assert files["reduced/c.jpg"].address is None


def test_a_file_is_downloaded_once(online: Server) -> None:
    path = registry.fetch("photos/a.jpg")
    assert path.read_bytes() == CONTENT
    assert registry.fetch("photos/a.jpg") == path
    assert online.requests == 1


def test_a_file_under_lpie_data_is_used_before_any_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "data", "photos/a.jpg")
    monkeypatch.setenv("LPIE_DATA", str(tmp_path / "data"))
    assert registry.fetch("photos/a.jpg") == path.resolve()


def test_wrong_bytes_under_lpie_data_are_named_with_both_hashes_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "data", "photos/a.jpg", b"else")
    monkeypatch.setenv("LPIE_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match=SHA256) as raised:
        registry.fetch("photos/a.jpg")
    assert hashlib.sha256(b"else").hexdigest() in str(raised.value)
    assert path.read_bytes() == b"else"


def test_a_file_that_changes_after_it_was_checked_is_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "data", "photos/a.jpg")
    monkeypatch.setenv("LPIE_DATA", str(tmp_path / "data"))
    registry.fetch("photos/a.jpg")
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="expected SHA-256"):
        registry.fetch("photos/a.jpg")


@pytest.mark.usefixtures("online")
def test_downloaded_bytes_that_differ_are_deleted_and_the_expected_hash_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"expected SHA-256 {SHA256}"):
        registry.fetch("photos/wrong.jpg")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("name", ["photos/truncated.jpg", "photos/missing.jpg"])
def test_a_download_that_breaks_off_leaves_nothing_and_names_the_address(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConnectionError, match="could not be downloaded from http://127"):
        registry.fetch(name)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_half_downloaded_file_in_the_cache_is_downloaded_again(online: Server, tmp_path: Path) -> None:
    put(tmp_path / "cache", "photos/a.jpg", CONTENT[:50])
    assert registry.fetch("photos/a.jpg").read_bytes() == CONTENT
    assert online.requests == 1


def test_without_a_network_the_error_says_what_to_do() -> None:
    with pytest.raises(ConnectionError, match="set LPIE_DATA"):
        registry.fetch("photos/a.jpg")


def test_a_file_without_an_address_points_at_lpie_data() -> None:
    with pytest.raises(FileNotFoundError, match=r"reduced/c\.jpg.*LPIE_DATA"):
        registry.fetch("reduced/c.jpg")


def test_a_folder_comes_sorted_and_downloads_what_is_absent(online: Server, tmp_path: Path) -> None:
    put(tmp_path / "cache", "photos/a.jpg")
    for name in ("wrong", "truncated", "missing"):
        put(tmp_path / "cache", f"photos/{name}.jpg")
    assert [path.name for path in registry.files_of("photos")] == sorted(
        ["a.jpg", "b.jpg", "missing.jpg", "truncated.jpg", "wrong.jpg"]
    )
    assert online.requests == 1


def test_names_outside_the_registry_are_refused() -> None:
    with pytest.raises(ValueError, match="no file"):
        registry.fetch("../../etc/passwd")
    with pytest.raises(ValueError, match="its folders are photos, reduced"):
        registry.files_of("photo")


def test_lpie_data_that_is_no_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPIE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        registry.data_root()
