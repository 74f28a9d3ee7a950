"""Each task's prediction file beside one written by hand, the archive, and what is refused."""

import hashlib
import io
import json
import zipfile

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.config import UsageError
from harness.leaderboard import write_predictions
from reports.records import write_record
from tasks.registry import TASKS

ROWS = {
    "pr": [{"id": "1089-134686-0000", "hypothesis": "HH IY1"}, {"id": "1089-134686-0001", "hypothesis": ""}],
    "asr": [{"id": "1089-134686-0000", "hypothesis": "HE HOPED"}],
    "ks": [
        {"id": "_silence_/doing_the_dishes-1.wav", "hypothesis": "_silence_"},
        {"id": "yes/0a7c2a8d_nohash_0.wav", "hypothesis": "no"},
    ],
    "sid": [{"id": "id10001/1zcIwhmdeo4/00003.wav", "hypothesis": "id11251"}],
    "asv": [
        {"id": "id10270/x6uYqmx31kE/00001.wav id10300/ize_eiCFEg0/00003.wav", "hypothesis": -0.00001},
        {"id": "id10270/-x_Y/00001.wav id10270/5r0dWxy17C8/00002.wav", "hypothesis": 0.75},
        {"id": "id10270/x6uYqmx31kE/00002.wav id10270/5r0dWxy17C8/00001.wav", "hypothesis": 1.0},
    ],
    "ic": [{"id": "0a3129c0-4474-11e9-a9a5", "hypothesis": "change language,none,none"}],
    "sf": [{"id": "Brian-snips-test-0", "hypothesis": "PLAY B-artist ABBA E-artist"}],
    "er": [{"id": f"Ses0{k}F_impro01_F000", "hypothesis": "neu", "fold": k} for k in range(1, 6)],
    "qbe": [
        {"id": "quesst14_eval_0001", "hypothesis": {"quesst14_00001": 2.0, "quesst14_00002": 2.00015}, "documents": 9},
        {"id": "quesst14_eval_0002", "hypothesis": {"quesst14_00001": -1.5, "quesst14_00002": 3}, "documents": 9},
        {"id": "quesst14_eval_0003", "hypothesis": {}},
    ],
    "sd": [
        {"id": "61-70968-0000_8455-210777-0012", "hypothesis": [[0.25, 1.0], [0.5, 0.0], [0.3, 0.7]], "stride": 320},
        {"id": "a_b", "hypothesis": [[0.125, 0.875]], "stride": 320},
    ],
}
TEXTS = {
    "pr": ("pr_public/predict.ark", "1089-134686-0000 HH IY1\n1089-134686-0001 \n"),
    "asr": ("asr_public/predict.ark", "1089-134686-0000 HE HOPED\n"),
    "ks": (
        "ks_public/predict.txt",
        "_silence_-doing_the_dishes-1.wav _silence_\nyes-0a7c2a8d_nohash_0.wav no\n",
    ),
    "sid": ("sid_public/predict.txt", "id10001-1zcIwhmdeo4-00003 id11251\n"),
    "asv": (
        "sv_public/predict.txt",
        "id10270-x6uYqmx31kE-00001_id10300-ize_eiCFEg0-00003 -0.000010\n"
        "id10270--x_Y-00001_id10270-5r0dWxy17C8-00002 0.750000\n"
        "id10270-x6uYqmx31kE-00002_id10270-5r0dWxy17C8-00001 1.000000\n",
    ),
    "ic": ("ic_public/predict.csv", "0a3129c0-4474-11e9-a9a5,change language,none,none\n"),
    "sf": ("sf_public/predict.ark", "Brian-snips-test-0 PLAY B-artist ABBA E-artist\n"),
}
DETECTIONS = """<?xml version='1.0' encoding='UTF-8'?>
<stdlist termlist_filename="benchmark.stdlist.xml" indexing_time="1.00" language="english" index_size="1" \
system_id="benchmark">
  <detected_termlist termid="quesst14_eval_0001" term_search_time="1.0" oov_term_count="1">
    <term file="quesst14_00001" channel="1" tbeg="0.000" dur="0.00" score="2.0000" decision="NO" />
    <term file="quesst14_00002" channel="1" tbeg="0.000" dur="0.00" score="2.0002" decision="YES" />
  </detected_termlist>
  <detected_termlist termid="quesst14_eval_0002" term_search_time="1.0" oov_term_count="1">
    <term file="quesst14_00001" channel="1" tbeg="0.000" dur="0.00" score="-1.5000" decision="NO" />
    <term file="quesst14_00002" channel="1" tbeg="0.000" dur="0.00" score="3.0000" decision="YES" />
  </detected_termlist>
</stdlist>"""


@pytest.fixture
def stored(tmp_path, record):
    """Write a record and its predictions into the run's folder; keywords replace fields of the record."""

    def write(task, rows=None, **changes):
        rows = ROWS[task] if rows is None else rows
        fields = {"task": task, "suite": "superb", "synthetic": False, "n_examples": len(rows), "n_total": len(rows)}
        return write_record(tmp_path / "run" / "records", record(**fields | changes), rows)

    return write


def pack(tmp_path, **options):
    return zipfile.ZipFile(write_predictions(tmp_path / "run", "starhubert", tmp_path / "predict.zip", **options))


def refusal(tmp_path, **options):
    with pytest.raises(UsageError) as caught:
        pack(tmp_path, **options)
    assert not list(tmp_path.glob("*predict*")) and not list(tmp_path.glob(".*"))
    return str(caught.value)


@pytest.mark.parametrize("task", TEXTS)
def test_text_files_by_hand(task, stored, tmp_path):
    stored(task)
    name, text = TEXTS[task]
    with pack(tmp_path) as archive:
        assert archive.namelist() == [f"predict/{name}"]
        assert archive.read(f"predict/{name}").decode() == text


def test_emotions_are_one_file_a_fold(stored, tmp_path):
    stored("er")
    with pack(tmp_path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"predict/er_fold{k}_public/predict.txt": f"Ses0{k}F_impro01_F000 neu\n".encode() for k in range(1, 6)
        }


def test_detections_by_hand(stored, tmp_path):
    stored("qbe")
    with pack(tmp_path) as archive:
        assert archive.namelist() == ["predict/qbe_public/benchmark.stdlist.xml"]
        assert archive.read("predict/qbe_public/benchmark.stdlist.xml").decode() == DETECTIONS


def test_probabilities_of_the_talkers(stored, tmp_path):
    stored("sd")
    folder = "predict/sd_public/"
    with pack(tmp_path) as archive:
        assert set(archive.namelist()) == {folder + "frame_shift"} | {
            f"{folder}scoring/predictions/{row['id']}.h5" for row in ROWS["sd"]
        }
        assert archive.read(folder + "frame_shift") == b"320\n"
        for row in ROWS["sd"]:
            content = archive.read(f"{folder}scoring/predictions/{row['id']}.h5")
            with h5py.File(io.BytesIO(content)) as file:
                assert list(file) == ["T_hat"] and file["T_hat"].dtype == np.float32
                np.testing.assert_allclose(file["T_hat"][:], row["hypothesis"], rtol=1e-6)


def test_all_tasks_in_one_archive_with_equal_bytes_each_time(stored, tmp_path):
    for task in TASKS:
        stored(task)
    stored("sf", metric="cer")
    stored("sf", metric="f1")
    stored("pr", rows=[{"id": "x", "hypothesis": "AA0"}], upstream="fbank")
    digests = set()
    for _ in range(2):
        with pack(tmp_path) as archive:
            assert archive.testzip() is None
            assert len(archive.namelist()) == 8 + 5 + 3
            assert b"1089" in archive.read("predict/pr_public/predict.ark")
            assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        digests.add(hashlib.sha256((tmp_path / "predict.zip").read_bytes()).hexdigest())
    assert len(digests) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predict.zip", "run"]


def test_command(stored, tmp_path):
    stored("ks", suite="mini", synthetic=True)
    out = tmp_path / "new" / "predict.zip"
    command = ["leaderboard", str(tmp_path / "run"), "--upstream", "starhubert", "--out", str(out)]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2 and not out.exists()
    assert "on synthetic speech, which the leaderboard does not know" in refused.stderr
    assert "give --allow-synthetic to try the format" in refused.stderr
    done = CliRunner().invoke(main, [*command, "--allow-synthetic"])
    assert done.exit_code == 0 and done.stdout == f"Predictions: {out}\n"
    assert zipfile.ZipFile(out).namelist() == ["predict/ks_public/predict.txt"]


def test_incomplete_predictions_are_refused(stored, tmp_path):
    stored("asr", n_total=3, skipped=["1089-134686-0007"])
    stored("pr")
    message = refusal(tmp_path)
    assert message.startswith("asr of starhubert: 1 of 3 test examples have a prediction, and the leaderboard scores")
    assert "set aside were 1089-134686-0007: restore these files, run it again" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("task", "changes", "problem"),
    [
        ("qbe", {"skipped": ["quesst14_00003"]}, "not everything was searched, without quesst14_00003"),
        ("ks", {"value": None, "skipped": ["out of memory"]}, "ks of starhubert: failed (out of memory)"),
        ("ks", {"n_examples": 5, "n_total": 5}, "2 lines in starhubert.ks.seed0.jsonl, but 5 were scored"),
        ("er", {"rows": ROWS["er"][:4]}, "folds 1, 2, 3, 4: expected 1 to 5"),
        ("sd", {"rows": [{"id": "a", "hypothesis": [[0, 1]]}]}, "frames of None samples: expected one length"),
        ("sd", {"rows": [ROWS["sd"][0], ROWS["sd"][1] | {"stride": 160}]}, "samples: expected one length"),
        ("sd", {"rows": [ROWS["sd"][0] | {"id": "../../x"}]}, "id '../../x' does not fit the format"),
        ("ic", {"rows": [{"id": "a,b", "hypothesis": "x,y,z"}]}, "id 'a,b' does not fit the format"),
        ("asr", {"rows": [{"id": "a b", "hypothesis": "x"}]}, "id 'a b' does not fit the format"),
        ("asr", {"rows": [{"id": "a"}]}, "line 1 of starhubert.asr.seed0.jsonl holds no prediction"),
    ],
)
def test_what_the_leaderboard_would_misread_is_refused(stored, tmp_path, task, changes, problem):
    stored(task, **changes)
    assert problem in refusal(tmp_path)


def test_every_problem_is_told_at_once(stored, tmp_path):
    stored("asr", n_total=3)
    stored("pr", n_total=4, suite="mini", synthetic=True)
    stored("pr", seed=1)
    message = refusal(tmp_path).splitlines()
    assert [line.split(":")[0] for line in message[:1]] == ["records of seeds 0, 1 in one folder"]
    assert any("synthetic" in line for line in message) and any(line.startswith("asr of") for line in message)


@pytest.mark.parametrize("name", ["../outside.jsonl", "absent.jsonl", None])
def test_predictions_that_are_not_beside_the_record_are_refused(stored, tmp_path, name):
    path = stored("asr")
    (path.parent.parent / "outside.jsonl").write_text(path.with_suffix(".jsonl").read_text())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"predictions": name}))
    assert "beside the record: run it again" in refusal(tmp_path)


def test_a_line_that_is_no_json_is_refused(stored, tmp_path):
    stored("asr").with_suffix(".jsonl").write_text("{\n")
    assert "line 1 of starhubert.asr.seed0.jsonl holds no prediction" in refusal(tmp_path)


def test_unknown_upstream_run_and_folder(stored, tmp_path):
    stored("asr", upstream="fbank")
    assert "no records of upstream 'starhubert'" in refusal(tmp_path)
    with pytest.raises(UsageError, match="expected one of those there: fbank"):
        pack(tmp_path)
    with pytest.raises(UsageError, match="no run in"):
        write_predictions(tmp_path, "fbank", tmp_path / "predict.zip")
    with pytest.raises(UsageError, match="is a folder: expected the name of an archive"):
        write_predictions(tmp_path / "run", "fbank", tmp_path)
