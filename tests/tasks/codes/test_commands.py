"""`uwt-eval encode`, `decode` and `reconstruct` from an empty folder, resumed, and refused."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from tasks.codes import files
from tests.conftest import REPOSITORY, CommandLine


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no --out goes there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, photos: list[Image.Image]) -> Path:
    """Photos of several sizes and endings, one of them broken."""
    root = tmp_path / "photos"
    (root / "wide").mkdir(parents=True)
    photos[0].crop((0, 0, 96, 64)).save(root / "wide" / "one.v2.jpg", quality=95)
    photos[1].resize((64, 64)).save(root / "two.png")
    photos[2].resize((64, 64)).convert("RGBA").save(root / "three.webp", lossless=True)
    return root


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def pictures(root: Path) -> dict[str, np.ndarray]:
    found = [path for path in root.rglob("*.png") if ".work" not in path.parts and path.is_file()]
    return {str(path.relative_to(root)): pixels(path) for path in found}


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_lossless_codes_come_back_as_they_were(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path, form: str
) -> None:
    codes, out = tmp_path / "codes", tmp_path / "out"
    done = uwt_eval("encode", folder, "--model", "identity", "--out", codes, "--format", form)
    assert "3 images of photos by identity: 1" in done.out
    told = json.loads(uwt_eval("decode", codes, "--out", out, "--json").out)
    assert (told["n"], told["failed"]) == (3, 0)
    found = pictures(out)
    assert set(found) == {"wide/one.v2.png", "two.png", "three.png"}
    for name, original in (("wide/one.v2", "jpg"), ("two", "png"), ("three", "webp")):
        np.testing.assert_array_equal(found[f"{name}.png"], pixels(folder / f"{name}.{original}"))


def test_tables_and_shards_are_read_by_their_own_libraries(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    for form in ("parquet", "webdataset"):
        uwt_eval(
            "encode", folder, "--model", "identity", "--out", tmp_path / form, "--format", form
        )
    rows = pq.read_table(tmp_path / "parquet" / "codes-00000.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["three.webp", "two.png", "wide/one.v2.jpg"]
    assert Image.open(io.BytesIO(rows[2]["payload"])).size == (96, 64)
    shard = webdataset.WebDataset(
        str(tmp_path / "webdataset" / "codes-00000.tar"), shardshuffle=False
    )
    for sample, row in zip(shard, rows, strict=True):
        assert sample["code"] == row.pop("payload")
        assert json.loads(sample["json"]) == row


def test_codes_of_the_evaluation_are_the_same(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    """What is encoded to files is what the reconstruction task encodes."""
    run = ("run", "imagenet-recon", "--data", folder, "--model", "uniwetok-nano")
    uwt_eval(*run, "--protocol", "exact", "--metrics", "bpp", "--out", tmp_path / "runs")
    (part,) = (tmp_path / "runs").rglob("outputs/*.parquet")
    uwt_eval("encode", folder, "--protocol", "crop-256", "--out", tmp_path / "codes")
    table = pq.read_table(tmp_path / "codes" / "codes-00000.parquet")
    assert table["payload"].to_pylist() == pq.read_table(part)["payload"].to_pylist()


def test_the_same_command_does_nothing_again(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    command = ("reconstruct", folder, "--model", "webp", "--out", tmp_path / "out", "--json")
    first = json.loads(uwt_eval(*command).out)
    lost = tmp_path / "out" / "two.png"
    kept = [*(tmp_path / "out").rglob("images/*.png"), *(tmp_path / "out").glob("t*.png")]
    times = {path: path.stat().st_mtime_ns for path in kept}
    lost.unlink()
    assert json.loads(uwt_eval(*command).out) == first
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_endings_stay_where_names_differ_in_nothing_else(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    Image.open(folder / "two.png").save(folder / "two.bmp")
    uwt_eval("reconstruct", folder, "--model", "identity", "--out", tmp_path / "out")
    assert set(pictures(tmp_path / "out")) == {
        *("two.png.png", "two.bmp.png", "three.webp.png", "wide/one.v2.jpg.png"),
    }


def test_an_unreadable_image_is_counted(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    (folder / "two.png").write_bytes(b"no picture")
    command = ("encode", folder, "--model", "webp", "--out", tmp_path / "codes", "--json")
    done = uwt_eval(*command)
    assert done.code == 3
    assert "two.png" in done.err
    assert json.loads(done.out)["failed"] == 1
    assert uwt_eval(*command, "--max-failures", "1").code == 0
    assert json.loads(uwt_eval("decode", tmp_path / "codes", "--json").out)["n"] == 2


def test_what_does_not_fit_is_one_line(uwt_eval: CommandLine, folder: Path, tmp_path: Path) -> None:
    codes, out = tmp_path / "codes", tmp_path / "out"
    uwt_eval("encode", folder, "--model", "webp", "--out", codes)
    for command, text in (
        (("decode", folder), "holds no codes"),
        (("decode", codes, "--model", "jpeg", "--out", out), "these codes are of webp"),
        (("decode", codes, "--model", "webp:2048", "--out", out), "the model given is"),
        (("encode", folder, "--model", "jpeg", "--out", codes), "have another model (jpeg): give"),
        (("encode", tmp_path / "no", "--out", out), "does not exist"),
        (("encode", folder, "--format", "zip", "--out", out), "zip"),
        (("encode", folder, "--model", "uniwetok-ar-nano", "--out", out), "encodes and decodes"),
        (("encode", folder, "--protocol", "wetok", "--out", out), "wetok"),
    ):
        done = uwt_eval(*command)
        assert done.code == 2, command
        assert text in done.err.replace("\n", " "), done.err
        assert "at the start" not in done.err
        assert "Traceback" not in done.err
    assert not out.exists()


@pytest.mark.usefixtures("folder")
def test_the_documented_commands_run(uwt_eval: CommandLine) -> None:
    text = (REPOSITORY / "docs" / "codes.md").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line.startswith("uwt-eval ")]
    assert len(commands) == 4
    for command in commands:
        done = uwt_eval(*shlex.split(command)[1:])
        assert done.code == 0, done.err
    assert len(pictures(Path("pictures"))) == len(pictures(Path("beside"))) == 3


def test_damaged_and_hostile_codes_are_refused(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    codes = tmp_path / "codes"
    command = ("encode", folder, "--model", "webp", "--out", codes, "--format", "webdataset")
    uwt_eval(*command)
    file = codes / "codes-00000.tar"
    whole, header = file.read_bytes(), json.loads((codes / "codes.json").read_text())
    file.write_bytes(whole.replace(b"RIFF", b"RIFE", 1))
    assert "its checksum differs" in uwt_eval("decode", codes).err
    file.write_bytes(_renamed(whole, "../../two.png"))
    done = uwt_eval("decode", codes)
    assert "its checksum differs" in done.err
    header["files"][0]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (codes / "codes.json").write_text(json.dumps(header))
    done = uwt_eval("decode", codes, "--out", tmp_path / "a" / "b" / "c")
    assert done.code == 2
    assert "'../../two.png' is no name of an image" in done.err
    header["files"][0]["name"] = "../photos/two.png"
    (codes / "codes.json").write_text(json.dumps(header))
    assert "is not there" in uwt_eval("decode", codes).err


def _renamed(archive: bytes, name: str) -> bytes:
    """The shard with another name in its second row."""
    sink = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=sink, mode="w") as new,
    ):
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            content = file.read()
            if member.name == "00000001.json":
                content = json.dumps({**json.loads(content), "id": name}).encode()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def test_pictures_of_the_user_are_never_replaced(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    for out in (folder, folder / "wide" / "new"):
        for command in ("encode", "reconstruct"):
            done = uwt_eval(command, folder, "--model", "webp", "--out", out, "--fresh")
            assert (done.code, "among the images" in done.err) == (2, True)
    uwt_eval("encode", folder, "--model", "webp", "--out", tmp_path / "codes")
    done = uwt_eval("decode", tmp_path / "codes", "--out", folder)
    assert done.code == 2
    assert f"{folder / 'two.png'} is there" in done.err.replace("\n", "")
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    assert not (folder / ".work").exists()


def test_codes_and_pictures_never_share_a_folder(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    codes, out = tmp_path / "codes", tmp_path / "out"
    of_photos = (folder, "--model", "webp")
    uwt_eval("encode", *of_photos, "--out", codes)
    uwt_eval("reconstruct", *of_photos, "--out", out)
    kept = sorted([*codes.rglob("*"), *out.rglob("*")])
    for command, text in (
        (("reconstruct", *of_photos, "--out", codes), "holds codes of `uwt-eval encode`"),
        (("decode", codes, "--out", codes), "holds codes of `uwt-eval encode`"),
        (("encode", *of_photos, "--out", out), "holds pictures of `uwt-eval decode`"),
    ):
        for fresh in ((), ("--fresh",)):
            done = uwt_eval(*command, *fresh)
            assert (done.code, text in done.err.replace("\n", " ")) == (2, True), done.err
    assert sorted([*codes.rglob("*"), *out.rglob("*")]) == kept
    assert uwt_eval("decode", codes, "--out", out).code == 0


def test_codes_that_were_cut_are_no_place_for_pictures(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    codes = tmp_path / "codes"
    uwt_eval("encode", folder, "--model", "webp", "--out", codes)
    (codes / "codes.json").unlink()  # It is written last.
    done = uwt_eval("reconstruct", folder, "--model", "webp", "--out", codes)
    assert (done.code, "holds codes" in done.err) == (2, True)
    assert uwt_eval("encode", folder, "--model", "webp", "--out", codes).code == 0


def test_pictures_of_two_models_never_share_a_folder(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    """Measured as one set they would be no model's."""
    webp, whole, out = tmp_path / "webp", tmp_path / "whole", tmp_path / "out"
    uwt_eval("encode", folder, "--model", "webp", "--out", webp)
    uwt_eval("encode", folder, "--model", "identity", "--limit", 1, "--out", whole)
    assert uwt_eval("decode", webp, "--out", out).code == 0
    before = pictures(out)
    for command in (("decode", whole), ("reconstruct", folder, "--model", "identity")):
        done = uwt_eval(*command, "--out", out)
        assert (done.code, "pictures of other codes" in done.err) == (2, True), done.err
    for name, kept in pictures(out).items():
        np.testing.assert_array_equal(kept, before[name])
    assert len(before) == 3
    assert uwt_eval("decode", whole, "--out", out, "--fresh").code == 0
    ((name, only),) = pictures(out).items()
    assert (only != before[name]).any()


def test_damaged_files_are_written_again(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    command = ("encode", folder, "--model", "webp", "--out", tmp_path / "codes")
    uwt_eval(*command)
    file = tmp_path / "codes" / "codes-00000.parquet"
    whole = file.read_bytes()
    for damaged in (b"", whole[:-40] + b"x" + whole[-39:]):
        file.write_bytes(damaged)
        done = uwt_eval("decode", tmp_path / "codes")
        assert (done.code, "uwt-eval encode" in done.err) == (2, True)
        assert uwt_eval(*command).code == 0
        assert file.read_bytes() == whole


def test_other_images_are_refused_before_any_work(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    codes = tmp_path / "codes"
    uwt_eval("encode", folder, "--model", "webp", "--out", codes)
    kept = sorted(codes.rglob("*"))
    (folder / "two.png").unlink()
    other = f"of {folder.name} by webp, those asked for have other images (2 of {folder.name})"
    for more, told in (
        ((), f"{other}: give"),
        (("--format", "webdataset"), f"{other} and another --format (webdataset): give"),
    ):
        done = uwt_eval("encode", folder, "--model", "webp", "--out", codes, *more)
        assert (done.code, told in done.err) == (2, True), done.err
    Image.new("RGB", (64, 64), (1, 2, 3)).save(folder / "two.png")
    done = uwt_eval("encode", folder, "--model", "webp", "--out", codes)
    assert f"other images (3 of {folder.name} as it is now): give" in done.err
    assert sorted(codes.rglob("*")) == kept
    assert uwt_eval("encode", folder, "--model", "webp", "--out", codes, "--fresh").code == 0


def test_failures_of_both_halves_are_counted(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    (folder / "two.png").write_bytes(b"")
    done = uwt_eval("reconstruct", folder, "--model", "webp", "--out", tmp_path / "out", "--json")
    told = json.loads(done.out)
    assert (done.code, told["n"], told["failed"]) == (3, 2, 1)


def test_a_file_beside_a_folder_of_its_name(
    uwt_eval: CommandLine, folder: Path, tmp_path: Path
) -> None:
    (folder / "two.webp").mkdir()
    Image.open(folder / "two.png").save(folder / "two.webp" / "x.png")
    Image.open(folder / "two.png").save(folder / "wide.bmp")
    (folder / "wide.png").mkdir()
    Image.open(folder / "two.png").save(folder / "wide.png" / "x.png")
    uwt_eval("reconstruct", folder, "--model", "identity", "--out", tmp_path / "out")
    assert {"wide.bmp.png", "wide.png/x.png.png"} <= set(pictures(tmp_path / "out"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"files": []}, "holds no codes"),
        ({"version": 9}, "version: Input should be 1"),
        ({"model": None}, "model: Input should be"),
        ({"format": "zip"}, "format: Input should be 'parquet' or 'webdataset'"),
    ],
)
def test_a_header_of_another_kind_is_one_line(
    uwt_eval: CommandLine, folder: Path, change: dict[str, object], text: str
) -> None:
    uwt_eval("encode", folder, "--model", "webp", "--out", "codes")
    header = json.loads(Path("codes/codes.json").read_text())
    Path("codes/codes.json").write_text(json.dumps({**header, **change}))
    done = uwt_eval("decode", "codes")
    assert (done.code, text in done.err.replace("\n", " ")) == (2, True), done.err


@pytest.mark.parametrize(
    "name", ["a/" * 40 + "x.png", "x" * 300, ".work/x.png", "/etc/x.png", "a/../../x.png", ""]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    assert not files._inside(name)
