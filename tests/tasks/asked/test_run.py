"""GenEval 2 and GenAI-Bench from model to record, with a judge on this machine."""

from __future__ import annotations

import io
import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.judges.endpoint import Patience
from tasks import PROTOCOLS
from tests.conftest import CommandLine
from tests.harness.baselines.test_hf_vlm import WORDS, save
from tests.tasks.asked.conftest import ROWS, Bench, likely

SOFT = ("--protocol", "geneval2-endpoint")


def jpeg(path: Path) -> bytes:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def by_the_published_script(root: Path) -> list[list[float]]:
    """`soft_tifa` of the published evaluation.py, over what the judge tells of the run's pictures.

    It sums the probabilities of the spellings' first tokens.
    """
    digits = {"two": "2", "three": "3", "five": "5"}
    lists = []
    for place, row in enumerate(ROWS):
        image, scores = jpeg(root / f"images/{place:05d}/0000.png"), []
        for question, answer in row["vqa_list"]:  # type: ignore[attr-defined]
            if question.startswith("How many"):
                spellings = [answer, answer.capitalize(), " " + answer, " " + answer.capitalize()]
                spellings += [digits[answer], " " + digits[answer]]
            else:
                spellings = ["Yes", "yes", " yes", " Yes"]
            told = likely(f"{question} Answer in one word.", [image])
            scores.append(sum(told.get(spelling, 0.0) for spelling in spellings))
        lists.append(scores)
    return lists


def test_soft_tifa_is_the_published_scripts(bench: Bench) -> None:
    record, root = bench.record("geneval2", "--data", bench.data, *SOFT)
    assert sorted(bench.painted) == sorted(str(row["prompt"]) for row in ROWS)
    lists = by_the_published_script(root)
    cells = {name: cell["value"] for name, cell in record["metrics"].items()}
    means = [sum(scores) / len(scores) for scores in lists]
    geometric = [prod(scores) ** (1 / len(scores)) for scores in lists]
    assert cells["geneval2_am"] == pytest.approx(100 * sum(means) / 3)
    assert cells["geneval2_gm"] == pytest.approx(100 * sum(geometric) / 3)
    for skill in ("object", "attribute", "count", "position", "verb"):
        mine = [
            score
            for row, scores in zip(ROWS, lists, strict=True)
            for name, score in zip(row["skills"], scores, strict=True)  # type: ignore[call-overload]
            if name == skill
        ]
        assert cells[f"geneval2_{skill}"] == pytest.approx(100 * sum(mine) / len(mine))
    assert cells["geneval2_atoms3"] == pytest.approx(100 * geometric[2])
    assert cells["geneval2_atoms4"] == pytest.approx(50 * (geometric[0] + geometric[1]))
    assert cells["geneval2_atoms10"] is None
    written = json.loads((root / "score_lists.json").read_text())
    assert np.allclose(np.concatenate(written), np.concatenate(lists))
    assert "3 prompts, the benchmark has 800" in record["provenance"]["notice"]
    assert record["provenance"]["judges"]["asked_answers"]["endpoint"] == bench.endpoint.url


def test_the_judges_agreement_stands_beside_its_scores(bench: Bench) -> None:
    def honest(text: str, images: list[bytes]) -> dict[str, float]:
        # Right about what is there and how it looks, wrong about every number.
        told = likely(text, images)
        return {"Yes": 0.9, "No": 0.05} if not text.startswith("How many") else told

    bench.endpoint.probabilities = honest
    record, root = bench.record("geneval2", "--data", bench.data, *SOFT, "--limit", 1)
    cell = record["metrics"]["judge_agreement"]
    rows = pd.read_parquet(root / "samples.parquet")
    assert cell["n"] == rows["marks"][0] == 68
    # Who always says yes is right about every true mark; numbers lie below a half.
    assert cell["value"] == pytest.approx(34 / 68)
    assert cell["ci_low"] < 0.5 < cell["ci_high"]
    told = bench.uwt_eval("calibrate", "--judge", "geneval2", *SOFT, "--json")
    assert told.code == 0, told.err
    kinds = {row["kind"]: row for row in json.loads(told.out)}
    assert kinds["all"]["agrees"] == cell["value"]
    assert kinds["object"]["said where false"] == pytest.approx(0.9)
    assert kinds["count"]["asked"] == 20
    shown = bench.uwt_eval("calibrate", "--judge", "geneval2", *SOFT)
    assert "marks by construction · geneval2 · geneval2-endpoint" in shown.out


def test_a_second_run_asks_nothing(bench: Bench) -> None:
    first, _ = bench.record("geneval2", "--data", bench.data, *SOFT)
    asked = len(bench.endpoint.bodies)
    assert bench.record("geneval2", "--data", bench.data, *SOFT)[0]["metrics"] == first["metrics"]
    bench.runs = bench.runs.with_name("elsewhere")
    assert bench.record("geneval2", "--data", bench.data, *SOFT)[0]["metrics"] == first["metrics"]
    assert len(bench.endpoint.bodies) == asked


def test_what_failed_is_asked_again_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience.__init__, "__defaults__", (1, 0.01, 0.05))
    words = ("geneval2", "--data", bench.data, *SOFT, "--max-failures", 3)
    bench.endpoint.fault = lambda number: "500" if bench.asks(number, "owls") else ""
    result = bench.run(*words)
    (record,) = result.records
    assert record["failures"] == {"judge_error": 1}
    paid = sum(bench.endpoint.paid.values())
    bench.endpoint.fault = lambda number: ""
    again, _ = bench.record(*words)
    assert again["n"] == 3
    assert not again["failures"]
    assert sum(bench.endpoint.paid.values()) == paid + 3
    assert max(bench.endpoint.paid.values()) == 1


def test_a_refusal_is_no_score(bench: Bench) -> None:
    bench.endpoint.fault = lambda number: "refusal" if bench.asks(number, "carts are") else ""
    result = bench.run("geneval2", "--data", bench.data, *SOFT, "--max-failures", 1)
    (record,) = result.records
    assert record["failures"] == {"parse_error": 1}
    rows = pd.read_parquet(bench.runs / record["run_id"] / "samples.parquet")
    (error,) = rows["error"][rows["status"] == "parse_error"]
    assert "refused (I cannot help with that.)" in error


def test_a_server_without_probabilities_is_refused_before_anything_is_painted(
    bench: Bench,
) -> None:
    bench.endpoint.probabilities = None
    result = bench.run("geneval2", "--data", bench.data, *SOFT)
    assert result.code == 2
    assert "gives no token probabilities: soft scores need" in result.err.replace("\n", " ")
    assert bench.painted == []


def test_hard_answers_need_no_probabilities(bench: Bench) -> None:
    bench.endpoint.probabilities = None
    bench.endpoint.answer = lambda text, images: (
        "2." if text.startswith("How many") else " yes, clearly"
    )
    record, root = bench.record("geneval2", "--data", bench.data, "--protocol", "geneval2-hard")
    cells = {name: cell["value"] for name, cell in record["metrics"].items()}
    assert record["protocol"] == "geneval2-hard"
    assert cells["geneval2_am"] == pytest.approx(100 * (1 + 2 / 3 + 2 / 3) / 3)
    assert cells["geneval2_gm"] == pytest.approx(100 / 3)
    assert cells["geneval2_count"] == pytest.approx(100 / 3)
    assert all("logprobs" not in body for body in bench.endpoint.bodies)
    page = (root / "gallery.html").read_text(encoding="utf-8")
    assert "How many kites are in the image? 2. (1.00)" in page
    assert json.loads((root / "judge.json").read_text())["replies"] == 10


def test_prompts_of_our_own_stand_in(bench: Bench) -> None:
    record, root = bench.record("geneval2", *SOFT)
    assert "four blue squares above two green circles" in bench.painted
    assert record["n"] == len(bench.painted) == 8
    assert "these 8 prompts ship with the program" in record["provenance"]["notice"]
    assert "CC BY-NC 4.0" in record["provenance"]["notice"]
    lines = [json.loads(line) for line in (root / "answers.jsonl").read_text().splitlines()]
    assert lines[0]["question"] == "How many circles are in the image?"
    assert lines[0]["expected"] == "three"


def test_pictures_made_elsewhere_and_their_scores(bench: Bench, tmp_path: Path) -> None:
    words = ("--data", bench.data, *SOFT)
    record, root = bench.record("geneval2", *words)
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(3):
        (root / f"images/{number:05d}/0000.png").rename(flat / f"{number:05d}.png")
    again = bench.uwt_eval(
        "run", "geneval2", "--images", flat, *words, "--device", "cpu", "--out", tmp_path, "--json"
    )
    assert again.records[0]["metrics"] == record["metrics"]
    # So do the scores as the published script would have written them.
    scored = bench.uwt_eval(
        "score", "geneval2", "--observations", root / "score_lists.json", "--questions", bench.data,
        *SOFT, "--label", "theirs", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert scored.code in {0, 3}, scored.err
    cells = scored.records[0]["metrics"]
    assert "answered elsewhere" in cells.pop("judge_agreement")["status"]
    for name, cell in cells.items():
        assert cell["value"] == pytest.approx(record["metrics"][name]["value"]), name


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[[1, 1, 1]]", "1 lists of scores for 3 prompts"),
        ("[[1], [1], [1]]", "prompt 00000: expected 4 scores"),
        ("[[1, 1, 1, 2], [1, 1, 1], [1, 1, 1]]", "a score is a number from 0 to 1"),
        ("{", "no JSON"),
        ("[[true, 1, 1, 1], [1, 1, 1], [1, 1, 1]]", "a score is a number from 0 to 1"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_scores_of_something_else_are_refused(
    content: str, told: str, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "score_lists.json"
    path.write_text(content)
    result = bench.uwt_eval(
        "score", "geneval2", "--observations", path, "--questions", bench.data, "--out", tmp_path
    )
    assert result.code == 2
    assert told in result.err.replace("\n", " ")


def protocol_of(tmp_path: Path, name: str, model: str) -> Path:
    """A named protocol with another plug-in."""
    text = (PROTOCOLS / f"{name}.toml").read_text(encoding="utf-8")
    path = tmp_path / f"{name}-other.toml"
    path.write_text(text.replace("hf-vlm:Qwen/Qwen3-VL-8B-Instruct", model), encoding="utf-8")
    return path


def test_a_judge_of_transformers_runs_here(bench: Bench, tmp_path: Path) -> None:
    folder = save(tmp_path / "tiny")
    path = protocol_of(tmp_path, "geneval2", f"hf-vlm:{folder}?dtype=float32")
    record, root = bench.record("geneval2", "--data", bench.data, "--protocol", path)
    assert bench.endpoint.bodies == []
    rows = pd.read_parquet(root / "samples.parquet")
    told: dict[str, Any] = json.loads(rows["answers"][0])[1]
    assert told["answer"] in WORDS
    assert 0 < told["score"] < 1
    assert record["metrics"]["geneval2_am"]["value"] == pytest.approx(100 * rows["am"].mean())
    assert record["metrics"]["judge_agreement"]["n"] == 68


def test_without_the_judge_pictures_are_drawn_and_the_figures_say_what_is_missing(
    bench: Bench,
) -> None:
    result = bench.run("geneval2", "--data", bench.data)
    (record,) = result.records
    assert len(bench.painted) == 3
    status = record["metrics"]["geneval2_gm"]["status"]
    assert "run `hf download Qwen/Qwen3-VL-8B-Instruct`" in status
    # As with any metric whose weights are missing: no picture failed.
    assert (result.code, record["status"]) == (0, "complete")
    told = bench.uwt_eval("calibrate", "--judge", "geneval2")
    assert told.code == 2
    assert "the judge of 'geneval2' cannot be asked: model missing" in told.err.replace("\n", " ")


def test_the_missing_judge_is_said_beside_missing_pictures(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "00000.png")
    words = ("--data", bench.data, "--device", "cpu", "--out", tmp_path / "runs")
    result = bench.uwt_eval("run", "geneval2", "--images", folder, *words)
    assert result.code == 3
    told = " ".join(result.out.split())
    assert "not computed: model missing, run `hf download Qwen/Qwen3-VL-8B-Instruct`" in told
    assert "incomplete, 2 of 3 samples failed (2 missing)" in told


def test_a_plug_in_that_tells_no_probabilities_is_refused(bench: Bench, tmp_path: Path) -> None:
    path = protocol_of(tmp_path, "geneval2", "openai-chat:m@http://127.0.0.1:9/v1")
    result = bench.run("geneval2", "--protocol", path)
    assert result.code == 2
    assert "needs one that tells how likely its replies begin so" in result.err.replace("\n", " ")


def test_vqascore_of_genai_bench(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "genai"
    folder.mkdir()
    prompts = {f"{n:05d}": {"prompt": f'{n} "odd" socks', "models": {}} for n in range(4)}
    (folder / "genai_image.json").write_text(json.dumps(prompts))
    tags = {"basic": [0, 1], "scene": [1], "spatial relation": [0], "advanced": [2, 3],
            "counting": [2], "negation": [3]}  # fmt: skip
    (folder / "genai_skills.json").write_text(json.dumps(tags))
    words = ("genai-bench", "--data", folder, "--protocol", "genai-bench-endpoint")
    record, root = bench.record(*words)
    scores = [
        likely(
            f'Does this figure show "{n} "odd" socks"? Please answer Yes or No.',
            [jpeg(root / f"images/{n:05d}/0000.png")],
        )["Yes"]
        for n in range(4)
    ]
    cells = {name: cell["value"] for name, cell in record["metrics"].items()}
    assert cells["genai_overall"] == pytest.approx(sum(scores) / 4)
    assert cells["genai_basic"] == pytest.approx(sum(scores[:2]) / 2)
    assert cells["genai_advanced"] == pytest.approx(sum(scores[2:]) / 2)
    assert cells["genai_spatial"] == pytest.approx(scores[0])
    assert cells["genai_negation"] == pytest.approx(scores[3])
    assert cells["genai_universal"] is None
    assert record["metrics"]["judge_agreement"]["n"] == 16


def test_dpg_bench_may_ask_an_endpoint(bench: Bench, tmp_path: Path, uwt_eval: CommandLine) -> None:
    text = (PROTOCOLS / "dpg-vlm.toml").read_text(encoding="utf-8")
    head = text[: text.index("[kind.dpg.vqa]")]
    path = tmp_path / "served.toml"
    path.write_text(
        head + '[kind.dpg.vqa]\nsource = "endpoint"\nclient = "openai"\nmodel = "served"\n'
        'question = "{question} Answer yes or no."\nmax_tokens = 8\njpeg_quality = 95\n'
    )
    bench.endpoint.answer = lambda text, images: "Yes."
    record, _ = bench.record("dpg", "--protocol", path)
    assert record["metrics"]["dpg_overall"]["value"] == 100
    assert record["provenance"]["judges"]["dpg_answers"]["endpoint"] == bench.endpoint.url
    told = uwt_eval("calibrate", "--judge", "dpg", "--protocol", path, "--json")
    rows = {row["kind"]: row for row in json.loads(told.out)}
    assert rows.keys() == {"attribute", "object", "position", "all"}
    assert rows["all"]["agrees"] == 0.5
