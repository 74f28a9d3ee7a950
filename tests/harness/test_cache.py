"""Caches of states: budgets, eviction, damage, full disks and several processes."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.cache import DiskCache, MemoryCache
from harness.features import PLAIN, Extractor

ROOT = Path(__file__).parent.parent.parent
STATES = torch.arange(600, dtype=torch.float32).view(3, 25, 8)  # 2400 bytes


def files(cache: DiskCache) -> list[Path]:
    return sorted(path for path in cache.folder.iterdir() if path.name != "address.txt")


def on_disk(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_memory_keeps_to_its_budget_and_forgets_what_is_not_wanted():
    cache = MemoryCache(5000)
    for name in "abc":
        cache.put(name, STATES)
    cache.put("a", STATES)
    assert [cache.get(name) is STATES for name in "abc"] == [True, True, False]
    assert cache.used == 4800
    cache.keep(["b", "c"])
    assert cache.get("a") is None and cache.get("b") is STATES and cache.used == 2400
    cache.put("c", STATES)
    assert cache.get("c") is STATES


def test_disk_gives_back_what_was_put_to_the_next_run_too(tmp_path):
    DiskCache(tmp_path, 10**6, "hubert libri").put("a", STATES)
    cache = DiskCache(tmp_path, 10**6, "hubert libri")
    found = cache.get("a")
    assert torch.equal(found, STATES) and found.dtype == torch.float32
    assert cache.get("b") is None
    assert DiskCache(tmp_path, 10**6, "hubert other").get("a") is None
    assert (cache.folder / "address.txt").read_text() == "hubert libri\n"


def test_disk_keeps_to_its_budget(tmp_path):
    cache = DiskCache(tmp_path, 10_000, "x")
    for i in range(10):
        cache.put(str(i), STATES)
    kept = [i for i in range(10) if cache.get(str(i)) is not None]
    assert kept == [0, 1, 2] and on_disk(tmp_path) <= 10_000
    # What is there counts for the next run as well.
    again = DiskCache(tmp_path, 10_000, "x")
    again.put("10", STATES)
    assert again.get("10") is None and on_disk(tmp_path) <= 10_000


def test_the_longest_unused_other_address_goes_first(tmp_path):
    old, older = (DiskCache(tmp_path, 10**6, name) for name in ("old", "older"))
    for cache, age in ((old, 100), (older, 200)):
        cache.put("a", STATES)
        os.utime(cache.folder, (1e9 - age, 1e9 - age))
    cache = DiskCache(tmp_path, 8500, "new")
    for name in "ab":
        cache.put(name, STATES)
    assert not older.folder.exists() and old.get("a") is not None and cache.get("b") is not None
    cache.put("c", STATES)
    assert not old.folder.exists() and cache.get("c") is not None
    assert on_disk(tmp_path) <= cache.used <= 8500


def test_an_address_that_is_opened_again_is_no_longer_the_oldest(tmp_path):
    first, second = (DiskCache(tmp_path, 10**6, name) for name in ("first", "second"))
    for cache, age in ((first, 200), (second, 100)):
        cache.put("a", STATES)
        os.utime(cache.folder, (1e9 - age, 1e9 - age))
    DiskCache(tmp_path, 10**6, "first")
    DiskCache(tmp_path, on_disk(tmp_path) + 1000, "new").put("a", STATES)
    assert first.folder.exists() and not second.folder.exists()


def test_nothing_of_the_users_is_counted_or_removed(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_bytes(bytes(9000))
    (tmp_path / "notes.txt").write_bytes(bytes(9000))
    cache = DiskCache(tmp_path, 3000, "new")
    for name in "ab":
        cache.put(name, STATES)
    assert cache.get("a") is not None and cache.get("b") is None
    assert (tmp_path / "thesis" / "chapter.tex").stat().st_size == (tmp_path / "notes.txt").stat().st_size == 9000


def test_what_cannot_fit_evicts_nothing(tmp_path):
    other = DiskCache(tmp_path, 10**6, "other")
    other.put("a", STATES)
    cache = DiskCache(tmp_path, 2000, "new")
    cache.put("a", STATES)
    assert cache.get("a") is None and other.get("a") is not None


def test_every_cut_and_every_altered_byte_is_noticed(tmp_path):
    cache = DiskCache(tmp_path, 10**6, "x")
    small = torch.tensor([[1.5, -2.0]])
    cache.put("a", small)
    path, used = files(cache)[0], cache.used
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(len(whole))]
    damaged += [whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :] for i in range(len(whole)) for flip in (1, 64)]
    for content in damaged:
        path.write_bytes(content)
        found = cache.get("a")
        assert found is None or torch.equal(found, small)
        assert found is not None or not path.exists()
    cache.used = used
    path.write_bytes(whole[:-1])
    assert cache.get("a") is None and cache.used < used
    cache.put("a", small)
    assert torch.equal(cache.get("a"), small) and on_disk(tmp_path) <= cache.used


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_damaged_states_are_computed_again(damage, recording, projection, tmp_path):
    items = [recording(f"u{i}", "x", 20 + i) for i in range(3)]
    expected = Extractor(projection).frames(items, PLAIN)
    cache = DiskCache(tmp_path / "states", 10**6, "x")
    Extractor(projection, cache=cache).frames(items, PLAIN)
    path = files(cache)[1]
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        for ours, theirs in zip(Extractor(projection, cache=cache).frames(items, PLAIN), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert len(files(cache)) == 3 and on_disk(tmp_path / "states") <= cache.used


@pytest.mark.parametrize("where", ["open", "rename"])
def test_a_full_disk_only_means_that_nothing_is_kept(where, recording, projection, tmp_path, monkeypatch):
    cache = DiskCache(tmp_path / "states", 10**6, "x")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*(Path, "open") if where == "open" else (Path, "replace"), full)
        cache.put("a", STATES)
    assert files(cache) == [] and cache.get("a") is None
    used = cache.used
    cache.put("a", STATES)
    assert torch.equal(cache.get("a"), STATES) and cache.used > used


def test_a_folder_that_another_process_removes_is_no_error(tmp_path):
    cache = DiskCache(tmp_path, 10**6, "x")
    cache.put("a", STATES)
    for path in (*files(cache), cache.folder / "address.txt"):
        path.unlink()
    cache.folder.rmdir()
    assert cache.get("a") is None
    cache.put("a", STATES)
    assert cache.get("a") is None or torch.equal(cache.get("a"), STATES)


WRITER = """
import sys
from pathlib import Path
import torch
from harness.cache import DiskCache

cache = DiskCache(Path(sys.argv[1]), 10**9, "x")
states = torch.full((2, 500, 64), float(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    for name in "ab":
        cache._path(name).unlink(missing_ok=True)
        cache.put(name, states)
"""


def test_two_processes_that_write_the_same_names_leave_whole_files(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen([*command, value], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for value in "12"
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    reader, seen = DiskCache(tmp_path, 10**9, "x"), set()
    while any(writer.poll() is None for writer in writers):
        seen.add(kind(reader.get("a")))
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert {kind(reader.get(name)) for name in "ab"} <= {"1.0", "2.0"}
    assert seen <= {"1.0", "2.0", "absent"}
    assert sorted(path.suffix for path in files(reader)) == [".states", ".states"]


def kind(states: torch.Tensor | None) -> str:
    """The one value of the tensor's elements."""
    if states is None:
        return "absent"
    values = states.unique()
    return str(float(values)) if len(values) == 1 else "torn"


def test_what_a_killed_process_has_half_written_is_removed(tmp_path):
    folder = DiskCache(tmp_path, 10**6, "x").folder
    old, new = folder / "old.1.tmp", folder / "new.2.tmp"
    for path in (old, new):
        path.write_bytes(bytes(100))
    os.utime(old, (1e9, 1e9))
    DiskCache(tmp_path, 10**6, "x")
    assert not old.exists() and new.exists()
