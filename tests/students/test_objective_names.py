"""How objectives are written."""

import pytest

from students.objective_names import OBJECTIVE_NAMES, Objective, parse


@pytest.mark.parametrize(
    ("text", "terms", "name"),
    [
        ("star", (("star", 1.0),), "star"),
        (
            "layer-wise+intra-layer+0.1*avg-attn",
            (("layer-wise", 1.0), ("intra-layer", 1.0), ("avg-attn", 0.1)),
            "layer-wise+intra-layer+0.1*avg-attn",
        ),
        (" 1.0 * star + 2*last-attn ", (("star", 1.0), ("last-attn", 2.0)), "star+2*last-attn"),
        ("1e+2*star", (("star", 100.0),), "100*star"),
        ("1e-5*star+1e20*layer-wise", (("star", 1e-5), ("layer-wise", 1e20)), "1e-05*star+1e20*layer-wise"),
    ],
)
def test_a_sum_of_weighted_terms_is_read_and_written_back(
    text: str, terms: tuple[tuple[str, float], ...], name: str
) -> None:
    assert parse(text) == Objective(terms)
    assert parse(text).name == name
    assert parse(name) == parse(text)


def test_only_attention_terms_need_maps() -> None:
    assert {name for name in OBJECTIVE_NAMES if parse(name).needs_maps} == {"avg-attn", "last-attn"}
    assert parse("star+0.1*avg-attn").needs_maps


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("layer-wize", ["unknown objective 'layer-wize': did you mean layer-wise"]),
        ("wave2text", ["unknown objective 'wave2text': expected one of star, layer-wise"]),
        ("", ["unknown objective '': expected one of star"]),
        ("star+", ["unknown objective '': expected one of star"]),
        ("star+2*star", ["objective star is given twice in 'star+2*star': give it once"]),
        ("0*star", ["weight '0' of objective 'star': expected a number over 0, as in 2*star"]),
        ("-1*star", ["weight '-1' of objective 'star'"]),
        ("nan*star", ["weight 'nan' of objective 'star'"]),
        ("inf*star", ["weight 'inf' of objective 'star'"]),
        ("two*star", ["weight 'two' of objective 'star'"]),
        ("*star", ["weight '' of objective 'star'"]),
        (
            "x*str+star+star",
            ["unknown objective 'str': did", "weight 'x'", "objective star is given twice"],
        ),
    ],
)
def test_every_problem_is_told_on_a_line_of_its_own(text: str, lines: list[str]) -> None:
    with pytest.raises(ValueError, match="objective") as caught:
        parse(text)
    told = str(caught.value).splitlines()
    assert len(told) == len(lines)
    for line, start in zip(told, lines, strict=True):
        assert line.startswith(start)
