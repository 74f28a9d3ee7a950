import pytest

from reports.counts import RECONSTRUCTED, counts_table, difference, printed_counts


@pytest.mark.parametrize(
    ("value", "printed", "text"),
    [
        (94.6976, "94.70", "exact"),
        (1669.156, "1669", "exact"),
        (26.88, "27", "exact"),
        (449.945, "449.4", "+0.12 %"),
        (94.381936, "94.70", "-0.34 %"),
        (5.0, "", "–"),
    ],
)
def test_a_count_is_exact_if_it_rounds_to_what_is_printed(value, printed, text):
    assert difference(value, printed) == text


def test_a_row_stands_beside_its_printed_counts():
    counts = {
        "parameters": 14_050_192,
        "as_published": 14_050_192,
        "strict": 355_582_180_224,
        "superb": 355_582_180_224,
    }
    table = counts_table([{"name": "starhubert-s", "reconstructed": True, **counts}])
    texts = ["starhubert-s", "14.05", "14.05", "14.1", "exact", "355,582,180,224", "355,582,180,224", "–", "–"]
    assert [cell.text for cell in table.rows[0]] == texts
    assert table.rows[0][0].footnotes == (1,) and table.footnotes[0] == RECONSTRUCTED
    assert len(table.columns) == len(texts)


def test_what_cannot_be_counted_is_shown_as_printed():
    table = counts_table([])
    assert [cell.text for cell in table.rows[0]] == ["dphubert", "–", "–", "23.59", "–", "–", "–", "654.1", "–"]
    assert "released file" in table.footnotes[0]


def test_printed_counts_are_those_of_the_table():
    printed = printed_counts()
    assert (printed["starhubert"].parameters, printed["starhubert"].macs) == ("22.31", "463.5")
    assert (printed["lighthubert_small"].parameters, printed["lighthubert_small"].macs) == ("27", "860.7")
    assert printed["maskhubert"].macs == ""
