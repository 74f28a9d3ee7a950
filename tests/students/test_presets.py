"""The example of the documentation, and what every preset promises."""

import importlib.util
import re
from pathlib import Path

import pytest

from students import presets
from students.presets import STUDENTS, Preset

DOCUMENT = Path(__file__).parents[2] / "docs" / "zoo.md"


def test_the_documented_student_works_and_is_short(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(code.splitlines()) < 15
    file = tmp_path / "documented.py"
    file.write_text(f"from students.presets import _DROPOUT, _MINI_POSITIONS, Dims, Preset, thin_stem\n\n{code}")
    spec = importlib.util.spec_from_file_location("documented", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    preset = module.starhubert_half()
    assert isinstance(preset, Preset) and preset.paper.layers == 6 and preset.dims("mini").layers == 3


@pytest.mark.parametrize("name", list(STUDENTS))
def test_every_student_goes_by_its_name_and_has_a_mini_size(name):
    preset = STUDENTS[name]()
    assert preset.name == name and preset.dims_exist("mini")
    assert preset.paper.layers == 2 * preset.dims("mini").layers
    assert preset.reconstructed == (name in ("starhubert-s", "starhubert-xs"))


def test_a_network_without_a_mini_size_says_so():
    with pytest.raises(ValueError, match="hubert_large has no mini size: expected the paper size"):
        presets.hubert_large().dims("mini")
