"""What `--data` says: words, TOML, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uniwetok.train import TrainingError
from uniwetok.train.data.places import Columns, DataPlace, read_places, weigh

STAGE3 = ("faces@0.3", "text@0.2", "general@0.5")


def test_one_path_is_the_path_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b@3").mkdir()
    for word in ("a=b@3", "shards/{00..09}.tar", "/data/x=1/images", "hf:owner/name@train"):
        assert read_places([word]) == [DataPlace(word)]
        assert weigh(read_places([word]), STAGE3) == ()


def test_words_are_names_places_and_weights() -> None:
    places = read_places(["faces=/f@0.3", "text=hf:a/b:c@train@2e-1", "general=s/{0..9}.tar"])
    assert places == [
        DataPlace("/f", "faces", 0.3),
        DataPlace("hf:a/b:c@train", "text", 0.2),
        DataPlace("s/{0..9}.tar", "general"),
    ]
    assert [place.path for place in places] == [Path("/f"), None, None]


def test_a_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mix.toml"
    path.write_text(
        '[faces]\npath = "faces"\nweight = 1\n'
        '[web]\npath = "hf:a/b@train"\nweight = 0.5\nimage = "jpg"\ncaption = "alt"\n'
    )
    assert read_places([str(path)]) == [
        DataPlace(str(tmp_path / "faces"), "faces", 1.0),
        DataPlace("hf:a/b@train", "web", 0.5, Columns("jpg", "alt")),
    ]


def test_weights_are_those_given_or_the_presets() -> None:
    words = ["general=g", "faces=f", "text=t"]
    assert weigh(read_places(words), STAGE3) == ("general@0.5", "faces@0.3", "text@0.2")
    assert weigh(read_places(["text=t@3", "faces=f@1"]), STAGE3) == ("text@3", "faces@1")
    assert weigh(read_places(["mine=f"]), ()) == ("mine@1",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([""], "--data is empty: write where it is"),
        (["", "b=/b@1"], "--data is empty: write where it is"),
        (["/a", "b=/b@1"], "--data /a: of several sources each has a name: NAME=/a@0.5"),
        (["faces=/a@1", "faces=/b@1"], "source faces is given twice"),
        (["faces=", "text=/t@1"], "write where it is"),
        (["face=/a@1", "text=/t@1"], "no source 'face'; did you mean 'faces'"),
        (["faces=/a@0", "text=/t@1"], "weight 0 is not positive"),
        (["faces=/a@-1", "text=/t@1"], "weight -1 is not positive"),
        (["faces=/a@nan", "text=/t@1"], "weight nan is not positive"),
        (["faces=/a", "text=/t"], "the settings also mix general; give general=PATH"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(message)) as caught:
        weigh(read_places(words), STAGE3)
    assert "\n" not in str(caught.value)


def test_a_weight_must_be_somewhere() -> None:
    with pytest.raises(TrainingError, match=r"source a has no weight; write a=/a@0\.5"):
        weigh(read_places(["a=/a", "b=/b@1"]), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no source"),
        ("[a]\nweight = 1\n", "[a]: path is no text"),
        ('a = "path"\n', "a is no table"),
        ('[a]\npath = "x"\nwieght = 1\n', "there is no 'wieght'; did you mean 'weight'"),
        ('[a]\npath = "x"\nweight = "1"\n', "weight='1' is no number"),
        ('[a]\npath = ""\n', "[a]: path is empty; write path"),
        (f'[a]\npath = "x"\nweight = 1{"0" * 400}\n', "[a]: the weight is too large"),
        ('[a]\npath = "x"\nimage = 1\n', "image is no text"),
        ("[a\n", "cannot be read"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mix.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=re.escape(message)) as caught:
        read_places([str(path)])
    assert "\n" not in str(caught.value)
