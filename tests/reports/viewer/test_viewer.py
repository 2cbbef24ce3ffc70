"""The files of the viewer: what they hold, what they leave out, and that no text gets loose."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import html5lib
import pandas as pd
import pytest

from reports.viewer.serve import server
from tests.conftest import CommandLine
from tests.reports.runs import change_record, read_record, write_run
from tests.reports.viewer.judged import NASTY, write_judged

HOSTILE = "=1+1\x1b[2J\n\u202e</script><script>alert(1)</script>'\"`${x} straße 時計"


def data_of(viewer: Path, name: str) -> Any:
    """What a data file hands to the page."""
    text = (viewer / "data" / f"{name}.js").read_text(encoding="ascii")
    found = re.fullmatch(r'uwtData\("(.*?)",(.*)\)\n', text, re.DOTALL)
    assert found is not None
    assert found[1] == name
    assert "<" not in text
    return json.loads(found[2])


@pytest.fixture
def write(uwt_eval: CommandLine, tmp_path: Path) -> Any:
    def run(*more: object, code: int = 0) -> Any:
        result = uwt_eval("view", tmp_path / "runs", "--out", tmp_path / "viewer", *more)
        assert result.code == code, result.err
        return result

    return run


def test_samples_side_by_side(write: Any, tmp_path: Path) -> None:
    runs, viewer = tmp_path / "runs", tmp_path / "viewer"
    write_run(runs, "alpha", columns={"psnr": [20.0, 21.123456789, 22.0]}, pictures=(0, 2))
    write_run(
        runs, "beta", columns={"psnr": [1.0, 2.0, 3.0]}, failed={1: "decode_error"}, pictures=(0,)
    )
    assert str(viewer / "index.html") in write().out
    (group,) = data_of(viewer, "index")["groups"]
    assert [run["name"] for run in group["runs"]] == ["alpha", "beta"]
    assert [metric["title"] for metric in group["metrics"]] == ["PSNR", "failed"]
    assert [metric["better"] for metric in group["metrics"]] == [True, False]
    assert data_of(viewer, "0/ids") == {"ids": [f"photo-{i}" for i in range(3)], "pictured": [0, 2]}
    assert data_of(viewer, "0/m0") == [[20.0, 21.1235, 22.0], [1.0, None, 3.0]]
    assert data_of(viewer, "0/m1") == [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    first, second, third = data_of(viewer, "0/c0")
    for name, _ in first["r"][0]["p"] + first["r"][1]["p"] + third["r"][0]["p"]:
        assert (viewer / name).is_file()
    assert second["r"][1]["s"] == "decode_error: broken"
    assert second["r"][0] == {"v": [21.1235, 0.0]}


def test_what_tells_runs_apart_is_in_their_names(write: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "alpha")
    write_run(tmp_path / "runs", "alpha", protocol="exact")
    write_run(tmp_path / "runs", "alpha", dataset="others", ids=["w", "x", "y", "z"])
    write()
    names = [
        [run["name"] for run in group["runs"]]
        for group in data_of(tmp_path / "viewer", "index")["groups"]
    ]
    assert sorted(names) == [["alpha"], ["alpha · exact", "alpha · wetok"]]


def test_edits_of_one_plug_in_are_told_apart_by_their_digests(write: Any, tmp_path: Path) -> None:
    digests = [
        read_record(write_run(tmp_path / "runs", "mine", code=code))["model_digest"]
        for code in ("first", "second")
    ]
    write_run(tmp_path / "runs", "other", protocol="exact")
    write()
    (group,) = data_of(tmp_path / "viewer", "index")["groups"]
    names = {run["name"] for run in group["runs"]}
    assert names == {"other", *(f"mine · digest {digest[:12]}" for digest in digests)}


def test_prompts_verdicts_and_pictures_of_a_judged_benchmark(write: Any, tmp_path: Path) -> None:
    write_judged(tmp_path / "runs")
    write()
    (group,) = data_of(tmp_path / "viewer", "index")["groups"]
    place = [metric["title"] for metric in group["metrics"]].index("verdict")
    assert data_of(tmp_path / "viewer", f"0/m{place}") == [[0.0, 1.0]]
    wrong, right = data_of(tmp_path / "viewer", "0/c0")
    assert wrong["r"][0]["c"] == [NASTY, "wrong: one clock", False, NASTY, ""]
    assert wrong["r"][0]["p"] == [[None, "drawn"]]  # It is told that the picture is missing.
    assert right["r"][0]["p"] == [["pictures/0/0/000001-0.png", "drawn"]]
    assert (tmp_path / "viewer/pictures/0/0/000001-0.png").is_file()


def test_questions_and_replies(write: Any, tmp_path: Path) -> None:
    root = write_run(tmp_path / "runs", "chat", task="pope", columns={"top1": [0.0, 1.0]})
    rows = pd.read_parquet(root / "samples.parquet").assign(
        question=["Is there a cat?", HOSTILE], reply=["no", ""]
    )
    rows.to_parquet(root / "samples.parquet", index=False)
    write()
    first, second = data_of(tmp_path / "viewer", "0/c0")
    assert first["r"][0]["t"] == {"question": "Is there a cat?", "reply": "no"}
    question = second["r"][0]["t"]["question"]
    assert "</script><script>alert(1)</script>'\"`${x} straße 時計" in question
    assert not {"\x1b", "\u202e"} & set(question)


def test_hostile_names(write: Any, tmp_path: Path) -> None:
    root = write_run(tmp_path / "runs", "a", ids=[HOSTILE, "../../b", "straße", '"'], pictures=(0,))
    change_record(root, model=HOSTILE, dataset=HOSTILE, task=HOSTILE)
    write()
    viewer = tmp_path / "viewer"
    page = (viewer / "index.html").read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(page)
    assert "script-src &#39;self&#39;" in page
    assert "default-src &#39;none&#39;" in page
    script = (viewer / "viewer.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdj|\.write|eval\(|Function\(", script)
    (group,) = data_of(viewer, "index")["groups"]
    assert "\n" not in group["title"]
    assert "</script>" in group["runs"][0]["name"]
    assert data_of(viewer, "0/ids")["ids"][1:] == ["../../b", "straße", '"']
    files = {path.relative_to(viewer).as_posix() for path in viewer.rglob("*") if path.is_file()}
    assert all(re.fullmatch(r"[a-z0-9/.-]+", name) for name in files)


def test_a_picture_that_leads_out_of_the_run_is_missing(write: Any, tmp_path: Path) -> None:
    root = write_judged(tmp_path / "runs")
    secret = tmp_path / "secret.png"
    (root / "images/00000/0001.png").replace(secret)
    (root / "images/00000/0001.png").symlink_to(secret)
    (root / "images/00000/0000.png").write_text("<svg onload=alert(1)>")
    write()
    assert all(each["r"][0]["p"][0][0] is None for each in data_of(tmp_path / "viewer", "0/c0"))


@pytest.mark.parametrize("file", ["record.json", "run.json", "samples.parquet", "cards.json"])
def test_a_damaged_run_is_one_line_and_left_out(write: Any, tmp_path: Path, file: str) -> None:
    write_run(tmp_path / "runs", "good")
    root = write_run(tmp_path / "runs", "bad")
    (root / file).write_text("{")
    result = write()
    assert len(result.err.strip().splitlines()) == 1
    assert result.err.startswith("left out: ")
    (group,) = data_of(tmp_path / "viewer", "index")["groups"]
    assert [run["name"] for run in group["runs"]] == ["good"]


def test_nothing_to_show_or_another_folder(write: Any, tmp_path: Path) -> None:
    root = write_run(tmp_path / "runs", "bad")
    (root / "samples.parquet").write_text("{")
    assert "no run can be shown" in write(code=2).err
    write_run(tmp_path / "runs", "good")
    (tmp_path / "viewer").mkdir()
    (tmp_path / "viewer" / "thesis.tex").write_text("years of work")
    (tmp_path / "viewer" / "viewer.js").write_text("another's")
    assert "it holds other files" in write(code=2).err
    assert (tmp_path / "viewer" / "thesis.tex").is_file()


def test_written_again(write: Any, tmp_path: Path) -> None:
    root = write_run(tmp_path / "runs", "a", pictures=(0,))
    write()
    (root / "pictures/000000.png").unlink()
    write()
    assert not list((tmp_path / "viewer/pictures").rglob("*.png"))


def test_originals_where_the_data_are(uwt_eval: CommandLine, tmp_path: Path) -> None:
    words = ("--limit", "2", "--metrics", "psnr", "--out", tmp_path / "runs", "--quiet")
    assert uwt_eval("run", "imagenet-recon", "--model", "jpeg", *words).code == 0
    assert uwt_eval("view", tmp_path / "runs", "--out", tmp_path / "viewer").code == 0
    for entry in data_of(tmp_path / "viewer", "0/c0"):
        assert (tmp_path / "viewer" / entry["o"]).is_file()


def test_the_address_is_told(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(server: ThreadingHTTPServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", interrupted)
    write_run(tmp_path / "runs", "a")
    assert re.search(r"http://127\.0\.0\.1:\d+/ ", write("--serve", "--port", "0").out)


def test_served_to_this_machine_alone(write: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "a")
    write()
    with server(tmp_path / "viewer", 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        try:
            assert serving.server_address[0] == "127.0.0.1"
            place = f"http://127.0.0.1:{serving.server_port}"
            with urllib.request.urlopen(place) as answer:
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            hidden = (f"{place}/data/", f"{place}/../runs")
            refused = urllib.request.Request(place, headers={"Host": "evil.example:80"})
            for request, code in ((refused, 403), *((each, 404) for each in hidden)):
                with pytest.raises(urllib.error.HTTPError) as error:
                    urllib.request.urlopen(request)
                assert error.value.code == code
        finally:
            serving.shutdown()
