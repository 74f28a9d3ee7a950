"""What someone is told who typed a name that does not exist."""

import pytest

from students.names import suggestion
from students.presets import NETWORKS, STUDENTS

LETTERS = tuple("abcdefghijklm")


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("starhubrt", STUDENTS, "did you mean starhubert?"),
        ("starhubertl", STUDENTS, "did you mean starhubert-l or starhubert?"),
        ("armhubert_s", STUDENTS, "did you mean armhubert-s or armhubert?"),
        ("hubrt", NETWORKS, "did you mean hubert_base or hubert_large?"),
        ("hubert", NETWORKS, "did you mean hubert_base or hubert_large?"),
        ("wavlm", NETWORKS, "did you mean wavlm_base or wavlm_base_plus or wavlm_large?"),
        ("asq", ("pr", "asr", "asv"), "did you mean asr or asv?"),
        ("zzz", ("pr", "asr"), "expected one of pr, asr."),
        ("zzz", LETTERS, "expected one of a, b, c, d, e, f, g, h, i, j, k, l, ...."),
        ("zzz", (), "expected one of ."),
    ],
)
def test_the_nearest_names_come_first_and_the_others_not_at_all(name, known, told):
    assert suggestion(name, known) == told
