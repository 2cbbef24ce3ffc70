"""`uwt-eval score gedit-en --observations FILE`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.data.store import Store
from harness.engine.observed import score_file
from harness.engine.score import score as run_score
from tasks.gedit.edits import GROUPS
from tests.conftest import CommandLine
from tests.tasks.gedit.small import NASTY, reply

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text(encoding="utf-8"))


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def line(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "group": GROUPS[number % 11],
        "key": f"k{number}",
        "language": "en",
        "instruction": f"edit {number}",
        "intersection": number % 2 == 0,
        "sc_replies": [reply(7, 6)],
        "pq_replies": [reply(5, 9)],
        **changes,
    }


def score(uwt_eval: CommandLine, file: Path, task: str = "gedit-en", *options: object) -> Any:
    out = file.parent / "runs"
    return uwt_eval("score", task, "--observations", file, "--out", out, "--json", *options)


def test_the_published_scripts_rows_give_its_figures(tmp_path: Path, uwt_eval: CommandLine) -> None:
    file = write(tmp_path / "rows.jsonl", GOLDEN["stats_rows"])
    for language in ("en", "cn"):
        result = score(uwt_eval, file, f"gedit-{language}")
        assert result.code == 0, result.err
        metrics = result.records[0]["metrics"]
        names = ("semantics", "quality", "gedit_overall")
        expected = GOLDEN["stats"][language]
        assert [metrics[name]["value"] for name in names] == pytest.approx(
            expected["fullset_macro"]
        )
        assert [metrics[f"{name}_intersection"]["value"] for name in names] == pytest.approx(
            expected["intersection_macro"]
        )
        folder = next((tmp_path / "runs").glob(f"gedit-{language}-*"))
        groups = pd.read_csv(folder / "groups.csv")
        full = groups[groups["set"] == "full"].set_index("group")
        for group, means in expected["per_group"].items():
            assert list(full.loc[group, ["sc", "pq", "overall"]]) == pytest.approx(means)


def test_the_published_scripts_csv_is_taken_as_it_is(tmp_path: Path, uwt_eval: CommandLine) -> None:
    rows = [
        {
            "source_image": f"/results/m/fullset/{row['group']}/{row['instruction_language']}/"
            f"{number}_SRCIMG.png",
            "edited_image": f"/results/m/fullset/{row['group']}/{row['instruction_language']}/"
            f"{number}.png",
            "instruction": f'a, "quoted"\nedit {number}',
            "sementics_score": row["sementics_score"],
            "quality_score": row["quality_score"],
            "intersection_exist": bool(row["intersection_exist"]),
            "instruction_language": row["instruction_language"],
        }
        for number, row in enumerate(GOLDEN["stats_rows"])
    ]
    file = tmp_path / "m_combined_gpt_score.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    for language in ("en", "cn"):
        result = score(uwt_eval, file, f"gedit-{language}", "--label", "m")
        assert result.code == 0, result.err
        (record,) = result.records
        names = ("semantics", "quality", "gedit_overall")
        expected = GOLDEN["stats"][language]["fullset_macro"]
        assert [record["metrics"][name]["value"] for name in names] == pytest.approx(expected)
        assert record["model"] == "m (judged elsewhere)"
        assert record["provenance"]["judged"] == "elsewhere"
    rows[1]["quality_score"] = ""
    rows[2]["intersection_exist"] = "maybe"
    pd.DataFrame(rows[:2]).to_csv(file, index=False)
    failed = score(uwt_eval, file, f"gedit-{rows[1]['instruction_language']}", "--label", "m")
    assert failed.records[0]["failures"] == {"parse_error": 1}
    pd.DataFrame(rows[:3]).to_csv(file, index=False)
    refused = score(uwt_eval, file)
    assert refused.code == 2
    assert "row 7: 'intersection' is 'maybe', expected true or false" in refused.err


def test_replies_are_read_by_the_protocol(tmp_path: Path, uwt_eval: CommandLine) -> None:
    file = write(tmp_path / "replies.jsonl", [line(0, sc_replies=["[8, 3]"]), line(1)])
    strict = score(uwt_eval, file, "gedit-en", "--max-failures", "1").records[0]
    assert strict["failures"] == {"parse_error": 1}
    official = score(uwt_eval, file, "gedit-en", "--protocol", "gedit-official").records[0]
    assert official["metrics"]["semantics"]["value"] == (3 + 6) / 2
    assert official["protocol_digest"] != strict["protocol_digest"]


def test_the_language_of_a_file_is_its_own(tmp_path: Path, uwt_eval: CommandLine) -> None:
    file = write(tmp_path / "cn.jsonl", [line(i, language="cn") for i in range(3)])
    result = score(uwt_eval, file, "gedit")
    assert result.code == 0, result.err
    assert result.records[0]["dataset"] == "GEdit-Bench cn"
    both = write(tmp_path / "both.jsonl", [line(0), line(1, language="cn")])
    result = score(uwt_eval, both, "gedit")
    assert result.code == 2
    assert "both.jsonl, line 2: the file holds both languages" in result.err


def test_several_lines_of_a_sample_are_judgings(tmp_path: Path, uwt_eval: CommandLine) -> None:
    lines = [line(i, sc_replies=[reply(s, 10)]) for i in range(11) for s in (4, 8)]
    cell = score(uwt_eval, write(tmp_path / "two.jsonl", lines)).records[0]["metrics"]["semantics"]
    assert cell["value"] == 6
    assert cell["note"] == "2 judgings from 4.000 to 8.000"
    result = score(uwt_eval, write(tmp_path / "odd.jsonl", lines[:-1]))
    assert result.code == 2
    assert "is judged 2 times and others 1" in result.err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"language": "zh"}, "line 2: unknown language 'zh': use en or cn"),
        ({"language": "cn"}, "1 line of language cn left out"),
        ({"group": "sky"}, "line 2: unknown group 'sky'"),
        ({"key": "a/b"}, "is no file name"),
        ({"key": 7}, "'key' is 7, expected a text"),
        ({"intersection": None}, "'intersection' is None, expected true or false"),
        ({"sc_replies": "text"}, "'sc_replies' is no list of texts"),
        ({"sc_replies": [7]}, "'sc_replies' is no list of texts"),
        ({"key": "k0", "group": GROUPS[0]}, "another instruction or set than before"),
    ],
)
def test_lines_that_are_wrong_are_named(
    tmp_path: Path, uwt_eval: CommandLine, changes: dict[str, Any], words: str
) -> None:
    file = write(tmp_path / "wrong.jsonl", [line(0), line(1, **changes)])
    result = uwt_eval("score", "gedit-en", "--observations", file, "--out", tmp_path / "runs")
    assert words in " ".join(result.err.split())
    assert "Traceback" not in result.err


@pytest.mark.parametrize("bad", [float("nan"), None, "7", -1, 10.5, float("inf"), True])
def test_scores_that_are_none_are_failures(
    tmp_path: Path, uwt_eval: CommandLine, bad: object
) -> None:
    given = [{k: v for k, v in line(i).items() if not k.endswith("replies")} for i in range(2)]
    rows = [{**row, "sementics_score": 7, "quality_score": 6} for row in given]
    rows[1]["quality_score"] = bad
    result = score(uwt_eval, write(tmp_path / "f.jsonl", rows), "gedit-en", "--max-failures", "1")
    assert result.code == 0, result.err
    assert result.records[0]["failures"] == {"parse_error": 1}
    assert result.records[0]["metrics"]["quality"]["value"] == 6


def test_null_and_empty_replies_are_failures(tmp_path: Path, uwt_eval: CommandLine) -> None:
    lines = [line(0), line(1, sc_replies=[None, ""]), line(2, pq_replies=[])]
    for protocol in ("gedit", "gedit-official"):
        file = write(tmp_path / f"{protocol}.jsonl", lines)
        result = score(uwt_eval, file, "gedit-en", "--max-failures", "2", "--protocol", protocol)
        assert result.records[0]["failures"] == {"parse_error": 2}


def test_the_gallery_shows_pictures_that_the_file_names(
    tmp_path: Path, uwt_eval: CommandLine
) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    pictures = {"source_image": "a.png", "edited_image": "missing.png"}
    lines = [line(0, instruction=NASTY, **pictures), line(1, sc_replies=["<b>\ud800 no</b>"])]
    result = score(uwt_eval, write(tmp_path / "p.jsonl", lines), "gedit-en", "--max-failures", "1")
    assert result.code == 0, result.err
    (folder,) = (tmp_path / "runs").iterdir()
    page = (folder / "gallery.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 1
    assert NASTY not in page
    assert "&lt;b&gt;" in page


def test_all_samples_are_scored_within_two_seconds(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lines = [
        line(i, language=language, sc_replies=[reply(*map(int, draw.integers(0, 11, 2)))])
        for i in range(606)
        for language in ("en", "cn")
    ]
    file = write(tmp_path / "all.jsonl", lines)
    merged = [score_file(f"gedit-{name}", file, out=tmp_path)[1:] for name in ("en", "cn")]
    start = time.process_time()
    records = [run_score(each.file, Store(root), {})[0] for each, root in merged]
    assert time.process_time() - start < 2
    assert [record.n for record in records] == [606, 606]
