"""State files: whole, damaged, of other settings, hostile, and a disk that fills."""

import errno
import signal

import pytest
import torch

from harness.states import StateFile, _Hashing, kept_config
from harness.stopping import Stopped


@pytest.fixture
def said():
    return []


@pytest.fixture
def file(tmp_path, said):
    return StateFile(tmp_path / "new" / "state.pt", {"a": [1, 2.5, None], "b": {"c": "x"}}, said.append)


def test_what_is_written_is_read(file, said):
    weights = torch.arange(6.0)
    file.write({"first": {"w": weights}, "again": [(0.5, weights)], "step": 3})
    state = file.read()
    assert torch.equal(state["first"]["w"], weights) and state["step"] == 3 and state["again"][0][0] == 0.5
    assert state["first"]["w"] is state["again"][0][1]
    assert kept_config(file.path) == file.config and not said
    assert [path.name for path in file.path.parent.iterdir()] == ["state.pt"]


def test_no_file_is_no_state(file, said):
    assert file.read() is None and kept_config(file.path) is None and not said


def test_other_settings_do_not_fit(file, said):
    file.write({})
    assert StateFile(file.path, {"a": 1}, said.append).read() is None
    assert said == [f"{file.path} was made with other settings: starting again from the beginning"]


def test_every_cut_and_every_altered_byte_is_noticed(file, said):
    file.write({"w": torch.zeros(2)})
    whole = file.path.read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), 7)]
    damaged += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole), 7)]
    for content in damaged:
        file.path.write_bytes(content)
        assert file.read() is None and kept_config(file.path) is None
        assert said.pop() == f"{file.path} cannot be used (it is damaged): starting again from the beginning"


def test_what_is_well_made_but_no_state_is_refused(file, said):
    file.path.parent.mkdir()
    with file.path.open("wb") as opened:
        hashing = _Hashing(opened)
        hashing.save([1, 2])
        opened.write(hashing.digest.digest())
    assert file.read() is None and kept_config(file.path) is None
    assert said == [f"{file.path} cannot be used (it holds something else): starting again from the beginning"]


class Hostile:
    def __reduce__(self):
        return pytest.fail, ("a pickle was run",)


def test_a_hostile_pickle_is_refused_before_it_runs(file, said):
    file.write({"step": Hostile()})
    assert file.read() is None
    assert said == [f"{file.path} cannot be used (PyTorch cannot read it): starting again from the beginning"]


def test_a_full_disk_leaves_the_state_before(file, monkeypatch):
    file.write({"step": 1})

    def full(self, content):
        self.error = OSError(errno.ENOSPC, "No space left on device")
        raise self.error

    monkeypatch.setattr(_Hashing, "write", full)
    with pytest.raises(OSError, match="No space left on device"):
        file.write({"step": 2})
    assert file.read() == {"step": 1}
    assert [path.name for path in file.path.parent.iterdir()] == ["state.pt"]


def test_a_signal_while_a_state_is_written_comes_through(file, monkeypatch):
    class Stopping:
        def update(self, content):
            raise Stopped(signal.SIGTERM)

    file.write({"step": 1})
    monkeypatch.setattr("harness.states.hashlib.blake2b", lambda digest_size: Stopping())
    with pytest.raises(Stopped):
        file.write({"weights": torch.zeros(1000)})
    monkeypatch.undo()
    assert file.read() == {"step": 1} and [path.name for path in file.path.parent.iterdir()] == ["state.pt"]
