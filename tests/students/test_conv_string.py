"""fairseq's stems as text, against Python's own reading of the harmless ones, and against hostile ones."""

import pytest

from students.conv_string import parse_conv_layers
from students.presets import thin_stem, wide_stem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2", wide_stem(512)),
        ("[(512,10,5)] + [(512,3,2)]*4 + [(512,2,2)] + [(512,2,2)]", wide_stem(512)),
        (
            "[(128, 10, 5)] + [(256, 1, 1)] + [(256, 3, 2)] * 4 + [(432, 1, 1)] + [(432, 2, 2)] * 2",
            thin_stem(432),
        ),
        (" 2 * ([[8, 3, 2]] + [(4, 1, 1)])\n", ((8, 3, 2), (4, 1, 1)) * 2),
        ("((8, 3, 2), (4, 1, 1))", ((8, 3, 2), (4, 1, 1))),
        ("[(8, 1, 1)] * 64", ((8, 1, 1),) * 64),
    ],
)
def test_stems_as_fairseq_writes_them(text, expected):
    assert parse_conv_layers(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid syntax"),
        ("[(512, 10, 5)", "was never closed"),
        ("[]", "names no convolution"),
        ("512", "Constant is not allowed"),
        ("__import__('os').system('true')", "Call is not allowed"),
        ("[x for x in ()]", "ListComp is not allowed"),
        ("[(512, 10, 5)] - [(512, 10, 5)]", "BinOp is not allowed"),
        ("layers", "Name is not allowed"),
        ("[*[(512, 10, 5)]]", "not .channels, kernel, stride."),
        ("[(512, 10)]", "not .channels, kernel, stride."),
        ("[512, 10, 5]", "not .channels, kernel, stride."),
        ("[(512, 10, 5.0)]", "'5.0' is not a positive integer"),
        ("[(512, 10, True)]", "'True' is not a positive integer"),
        ("[(512, 10, 0)]", "'0' is not a positive integer"),
        ("[(512, 10, -5)]", "'-5' is not a positive integer"),
        ("[(512, 10, 2 + 3)]", "'2 [+] 3' is not a positive integer"),
        ("[(512, 10, 5)] * 10**9", "is not a positive integer"),
        ("[(512, 10, 5)] * 1000000000", "over 64 convolutions"),
        ("[(512, 10, 5)] * 60 + [(512, 10, 5)] * 60", "over 64 convolutions"),
        ("[(8, 1, 1)] * 8 * 8 * 8 * 8 * 8 * 8", "over 64 convolutions"),
        ("(" * 900, "too many nested|never closed"),
        ("[(1, 1, 1)]" + "+[(1, 1, 1)]" * 200, "expected at most 1000"),
        ("[(512, 10, 5)]\0", "null bytes"),
    ],
)
def test_anything_else_is_one_clear_line(text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_conv_layers(text)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 400
