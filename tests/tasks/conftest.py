"""What the tests of the corpus readers share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.base import CorpusError, Splits


@pytest.fixture
def audio_file() -> Callable[..., Path]:
    """Writes a short quiet tone; returns its path."""

    def write(path: Path, samples: int = 160, rate: int = 16_000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.01 * np.sin(0.1 * np.arange(samples)), rate, subtype="PCM_16")
        return path

    return write


@pytest.fixture
def corpus_error() -> Callable[[Callable[[Path], list[Splits]], Path], str]:
    """The one-line message with which a reader refuses a folder."""

    def read(reader: Callable[[Path], list[Splits]], root: Path) -> str:
        with pytest.raises(CorpusError) as caught:
            reader(root)
        message = str(caught.value)
        assert "\n" not in message
        assert str(root) in message
        assert "Expected" in message
        assert message.endswith(f"harness doctor --corpora {root}")
        return message

    return read
