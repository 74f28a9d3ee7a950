"""What is read from text, on any text: a value, or one clear error."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from students.conv_string import parse_conv_layers
from students.objective_names import OBJECTIVE_NAMES, Objective, parse

TRIPLES = st.tuples(*[st.integers(1, 999)] * 3)
Stem = tuple[tuple[int, int, int], ...]


def _joined(parts: tuple[tuple[str, Stem], tuple[str, Stem]]) -> tuple[str, Stem]:
    (one, first), (other, second) = parts
    return f"{one} + {other}", first + second


def _times(part: tuple[tuple[str, Stem], int, bool]) -> tuple[str, Stem]:
    (text, stem), count, before = part
    return f"{count} * ({text})" if before else f"({text})*{count}", stem * count


# A text with the convolutions that Python makes of it.
EXPRESSIONS = st.recursive(
    st.lists(TRIPLES, min_size=1, max_size=3).map(lambda found: (repr(found), tuple(found))),
    lambda inner: st.tuples(inner, inner).map(_joined) | st.tuples(inner, st.integers(1, 9), st.booleans()).map(_times),
    max_leaves=4,
)


@given(EXPRESSIONS)
def test_sums_and_multiples_are_read_as_python_reads_them(drawn: tuple[str, Stem]) -> None:
    text, stem = drawn
    if len(stem) > 64:
        with pytest.raises(ValueError, match="over 64 convolutions"):
            parse_conv_layers(text)
    else:
        assert parse_conv_layers(text) == stem


PIECES = st.lists(
    st.sampled_from(["[(1, 2, 3)]", "[(1, 2, 3), (0, 1, 2)]", "[(1, 2)]", "+", "*", "2", "0", "-1", "True"])
)


@settings(max_examples=200)
@given(st.text(max_size=60) | st.text("[]() ,+*-0123456789xl.'", max_size=60) | PIECES.map(" ".join))
@example("[(1, 1, 1)] * 10**9")
def test_any_text_is_a_stem_or_refused_in_a_line(text: str) -> None:
    try:
        stem = parse_conv_layers(text)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert 0 < len(stem) <= 64
        assert all(len(triple) == 3 and all(type(x) is int and x > 0 for x in triple) for triple in stem)


NAMES = sorted(set(OBJECTIVE_NAMES) - {"masking"})
WEIGHTS = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
SUMS = st.lists(st.tuples(st.sampled_from(NAMES), WEIGHTS), min_size=1, max_size=4, unique_by=lambda term: term[0])


@given(SUMS.map(tuple))
def test_an_objective_is_read_back_from_its_name(terms: tuple[tuple[str, float], ...]) -> None:
    assert parse(Objective(terms).name) == Objective(terms)
    assert parse(" + ".join(f"{weight!r} * {name}" for name, weight in terms)) == Objective(terms)


TERMS = st.tuples(st.sampled_from(["", "0*", "1e-3*", "nan*", "inf*", "-1*", "2"]), st.sampled_from(OBJECTIVE_NAMES))


@given(st.text(max_size=40) | st.lists(TERMS.map("".join), max_size=3).map("+".join))
def test_any_text_is_an_objective_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except ValueError as error:
        assert "objective" in str(error) or "masking" in str(error)
    else:
        assert parse(found.name) == found and all(0 < weight < float("inf") for _, weight in found.terms)
