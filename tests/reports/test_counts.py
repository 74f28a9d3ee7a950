import pytest

from reports.counts import compared, difference, printed_counts


@pytest.mark.parametrize(
    ("value", "printed", "text"),
    [
        (94.6976, "94.70", "exact"),
        (1669.156, "1669", "exact"),
        (26.88, "27", "exact"),
        (449.945, "449.4", "+0.12 %"),
        (94.381936, "94.70", "-0.34 %"),
        (5.0, "", None),
    ],
)
def test_a_count_is_exact_if_it_rounds_to_what_is_printed(value, printed, text):
    assert difference(value, printed) == text


def test_a_row_stands_beside_its_printed_counts():
    row = {"name": "starhubert-s", "reconstructed": True, "parameters": 14_050_192, "as_published": 14_050_192}
    (line,) = compared([{**row, "strict": 355_582_180_224, "superb": 355_582_180_224}])
    assert line == {
        "network": "starhubert-s [reconstructed]",
        "parameters_M": "14.05",
        "as_published_M": "14.05",
        "printed_M": "14.1",
        "parameters_difference": "exact",
        "strict_G": "355.582",
        "superb_G": "355.582",
        "printed_G": None,
        "MACs_difference": None,
        "note": None,
    }


def test_printed_counts_are_those_of_the_table():
    printed = printed_counts()
    assert (printed["starhubert"].parameters, printed["starhubert"].macs) == ("22.31", "463.5")
    assert (printed["lighthubert_small"].parameters, printed["lighthubert_small"].macs) == ("27", "860.7")
    assert printed["maskhubert"].macs == ""
