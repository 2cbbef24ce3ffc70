"""Files written whole or not at all, one run a directory, and parts believed only when whole."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packaging.version import Version

from harness.data.store import Store
from harness.interfaces.errors import UserError

KEY = "0123456789abcdef" * 4
KEEPS_HOLDER = Version(version("filelock")) >= Version("3.30")
TABLE = pa.table({"id": ["a", "b", "c"], "psnr": [20.0, 21.0, 22.0]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def raise_os_error(number: int) -> Callable[[Path], None]:
    """A writer that gets half of its bytes out before the file system refuses."""

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    return write


def test_write_makes_folders_and_moves_the_whole_file_in_place(store: Store) -> None:
    path = store.write("pictures/000001.png", lambda path: path.write_bytes(b"png"))
    assert path.read_bytes() == b"png"
    assert files_below(store.root) == ["pictures/000001.png"]


def test_temporary_file_keeps_the_suffix_that_writers_go_by(store: Store) -> None:
    seen: list[str] = []

    def write(path: Path) -> None:
        seen.append(path.suffix)
        path.touch()

    store.write("grid.png", write)
    assert seen == [".png"]


@pytest.mark.parametrize("error", [RuntimeError("writer broke"), KeyboardInterrupt()], ids=repr)
def test_a_writer_that_raises_leaves_nothing(store: Store, error: BaseException) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        store.write("record.json", write)
    assert files_below(store.root) == []


def test_a_writer_that_raises_leaves_the_old_file(store: Store) -> None:
    store.write_json("record.json", {"n": 1})
    with pytest.raises(UserError, match="disk full"):
        store.write("record.json", raise_os_error(errno.ENOSPC))
    assert json.loads((store.root / "record.json").read_text()) == {"n": 1}
    assert files_below(store.root) == ["record.json"]


def test_json_is_written_for_people(store: Store) -> None:
    path = store.write_json("record.json", {"label": "Fréchet", "n": 3})
    assert path.read_text(encoding="utf-8") == '{\n  "label": "Fréchet",\n  "n": 3\n}\n'


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_clear_line(store: Store, number: int) -> None:
    with pytest.raises(UserError, match=r"disk full while writing .*a\.bin: free some space"):
        store.write("a.bin", raise_os_error(number))
    assert files_below(store.root) == []


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full on this system")
def test_full_disk_is_recognised_in_what_pyarrow_raises(store: Store) -> None:
    # An open stream, not the path: pyarrow removes a path that it failed to write.
    def write(path: Path) -> None:
        with pa.OSFile("/dev/full", "wb") as device:
            pq.write_table(TABLE, device)

    with pytest.raises(UserError, match="disk full"):
        store.write("a.parquet", write)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM, errno.EISDIR])
def test_unwritable_target_is_one_clear_line(store: Store, number: int) -> None:
    with pytest.raises(UserError, match=r"cannot write .*a\.bin .*: give another --out"):
        store.write("a.bin", raise_os_error(number))


def test_other_os_errors_are_not_hidden(store: Store) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        store.write("a.bin", raise_os_error(errno.EIO))


def test_run_directory_below_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot write"), Store(root).locked():
            pytest.fail("the lock was given")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_run_directory_is_one_clear_line(store: Store) -> None:
    store.root.mkdir()
    store.root.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"), store.locked():
        pytest.fail("the lock was given")


def test_lock_removes_what_a_killed_run_left_half_written(store: Store) -> None:
    store.write_part("outputs", 0, KEY, TABLE)
    for folder in (store.root, store.root / "outputs"):
        (folder / ".tmp-0123.parquet").write_bytes(b"half")
    with store.locked():
        assert files_below(store.root) == ["outputs/000000-0123456789abcdef.parquet", "run.lock"]


def test_second_run_on_a_directory_is_refused(store: Store) -> None:
    with (
        store.locked(),
        pytest.raises(UserError, match="is in use by another run"),
        Store(store.root).locked(),
    ):
        pytest.fail("the lock was given twice")
    with Store(store.root).locked():
        pass


def test_lock_is_free_again_after_an_error(store: Store) -> None:
    with pytest.raises(RuntimeError), store.locked():
        raise RuntimeError
    with store.locked():
        pass


def hold_lock(root: Path, held: multiprocessing.synchronize.Event) -> None:
    with Store(root).locked():
        held.set()
        multiprocessing.Event().wait(60)


def test_lock_of_a_killed_process_is_free_again(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=hold_lock, args=(store.root, held))
    process.start()
    assert held.wait(60)
    by = rf" \(process {process.pid}\)" if KEEPS_HOLDER else ""
    whom = rf"is in use by another run{by}: wait for it"
    for _ in range(2):  # Who asks does not wipe out who holds it.
        with pytest.raises(UserError, match=whom), store.locked():
            pytest.fail("the lock was given twice")
    process.kill()
    process.join(60)
    with store.locked():
        pass
    assert (store.root / "run.lock").read_bytes() == b""


@pytest.mark.skipif(not KEEPS_HOLDER, reason="filelock before 3.30 empties a lock that is held")
def test_a_lock_held_on_another_machine_names_it(store: Store) -> None:
    with store.locked():
        (store.root / "run.lock").write_text("12\nnode7\n")
        with pytest.raises(UserError, match=r"\(process 12 on node7\)"), store.locked():
            pytest.fail("the lock was given twice")


def test_part_comes_back_as_it_was_written(store: Store) -> None:
    store.write_part("observations/pixels", 12, KEY, TABLE)
    assert store.has_part("observations/pixels", 12, KEY, 3)
    assert store.read_part("observations/pixels", 12, KEY, 3).equals(TABLE)
    assert store.read_part("observations/pixels", 12, KEY, 3, ["psnr"]).equals(
        TABLE.select(["psnr"])
    )
    assert files_below(store.root) == ["observations/pixels/000012-0123456789abcdef.parquet"]


def test_part_is_found_under_its_own_block_key_and_row_count_only(store: Store) -> None:
    store.write_part("outputs", 0, KEY, TABLE)
    assert store.has_part("outputs", 0, KEY, 3)
    assert not store.has_part("outputs", 1, KEY, 3)
    assert not store.has_part("outputs", 0, "f" + KEY[1:], 3)
    assert not store.has_part("outputs", 0, KEY, 4)
    assert not store.has_part("observations/pixels", 0, KEY, 3)


@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_truncated_part_is_not_believed(store: Store, kept: float) -> None:
    store.write_part("outputs", 0, KEY, TABLE)
    (path,) = (store.root / "outputs").iterdir()
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if 0 < kept < 1 else int(kept)])
    assert not store.has_part("outputs", 0, KEY, 3)


def test_damaged_part_counts_as_missing_and_is_named(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write_part("outputs", 0, KEY, TABLE)
    (path,) = (store.root / "outputs").iterdir()
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    assert store.read_part("outputs", 0, KEY, 3) is None
    assert f"{path} held counts as missing: its checksum differs" in capsys.readouterr().err


def test_discarded_part_is_computed_again(store: Store) -> None:
    store.write_part("outputs", 0, KEY, TABLE)
    store.discard_part("outputs", 0, KEY)
    store.discard_part("outputs", 0, KEY)
    assert not store.has_part("outputs", 0, KEY, 3)


def test_a_refused_run_leaves_none_of_the_folders_that_it_made(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for root in (tmp_path / "runs" / "deep" / "run", tmp_path / "kept" / "run"):
        with pytest.raises(UserError, match="refused"), Store(root).locked():
            raise UserError("refused")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert not list((tmp_path / "kept").iterdir())
