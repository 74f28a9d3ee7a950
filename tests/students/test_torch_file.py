"""Files of torch.save: damaged ones, and those that would run code."""

import argparse
import os

import pytest
import torch

from students.torch_file import read_torch_file
from students.upstreams import UpstreamError


class Hostile:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_is_refused_before_it_runs(tmp_path) -> None:
    made = tmp_path / "made"
    torch.save({"state_dict": {}, "hyper_parameters": Hostile(str(made))}, tmp_path / "file.ckpt")
    with pytest.raises(
        UpstreamError, match=r"holds a (posix|nt)\.mkdir, which could run code: expected tensors"
    ) as caught:
        read_torch_file(tmp_path / "file.ckpt")
    assert not made.exists() and "\n" not in str(caught.value)


def test_a_namespace_of_settings_is_harmless(tmp_path) -> None:
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "file.pt")
    assert read_torch_file(tmp_path / "file.pt")["args"].lr == 0.1


def test_files_that_cannot_be_read_are_refused(tmp_path) -> None:
    file = tmp_path / "file.pt"
    with pytest.raises(UpstreamError, match=r"cannot read .*file\.pt: .*No such file"):
        read_torch_file(file)
    torch.save({"weight": torch.ones(1_000)}, file)
    for damaged in (file.read_bytes()[:2_000], b"", b"text"):
        file.write_bytes(damaged)
        with pytest.raises(UpstreamError, match=r"cannot read .*file\.pt: .+ get it again") as caught:
            read_torch_file(file)
        assert "\n" not in str(caught.value)
    torch.save([1], file)
    with pytest.raises(UpstreamError, match="holds a list: expected a state dict"):
        read_torch_file(file)
