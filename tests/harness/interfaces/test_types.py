"""The frozen records: what digests see, how payloads unpack, what validation refuses."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from pydantic import ValidationError

from harness.interfaces import Code
from harness.interfaces.types import (
    SCHEMA_VERSION,
    Codebook,
    Latents,
    MetricValue,
    ModelCard,
    Protocol,
    Record,
    ResultRecord,
    RunStatus,
    Sample,
    Stage,
    Status,
    canonical_json,
    digest_of,
    dotted,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def result_record(**changes: Any) -> ResultRecord:
    """A record with a computed, an absent and a failed-over cell."""
    fields: dict[str, Any] = {
        "run_id": "imagenet-recon-webp-wetok-0123456789",
        "task": "imagenet-recon",
        "task_version": 1,
        "model": "webp",
        "model_digest": "a" * 64,
        "protocol": "wetok",
        "protocol_digest": "b" * 64,
        "dataset": "val",
        "dataset_digest": "c" * 64,
        "seed": 0,
        "n": 10,
        "n_failed": 1,
        "failures": {"decode_error": 1},
        "status": RunStatus.INCOMPLETE,
        "metrics": {
            "psnr": MetricValue(value=24.5, ci_low=24.0, ci_high=25.0, n=9, n_failed=1),
            "rfid": MetricValue.absent("not computed: weights missing", higher_is_better=False),
        },
    }
    return ResultRecord(**{**fields, **changes})


def test_canonical_json_is_compact_sorted_and_keeps_unicode() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5))
def test_digest_ignores_key_order_and_survives_a_round_trip(value: dict[str, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert digest_of(backwards) == digest_of(value)
    assert digest_of(json.loads(canonical_json(value))) == digest_of(value)


def test_digest_is_sha256_of_the_canonical_text() -> None:
    assert digest_of({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (1, 1.0), (None, "null"), ([1, 2], [2, 1]), ({}, [])]
)
def test_digest_tells_like_looking_values_apart(one: object, other: object) -> None:
    assert digest_of(one) != digest_of(other)


def test_protocol_digest_depends_on_settings_only() -> None:
    settings = {"uint8": "round", "geometry": {"resize": 256}}
    protocol = Protocol(name="a", title="A", description="first", settings=settings)
    renamed = Protocol(name="b", title="B", description="second", settings=settings)
    changed = Protocol(
        name="a", title="A", settings={"uint8": "round", "geometry": {"resize": 255}}
    )
    assert protocol.digest == renamed.digest
    assert protocol.digest != changed.digest


def test_model_digest_covers_name_configuration_and_weights() -> None:
    card = ModelCard(name="m", config={"dtype": "float32"}, weights_sha256="1" * 64)
    others = [
        card.model_copy(update={"name": "n"}),
        card.model_copy(update={"config": {"dtype": "bfloat16"}}),
        card.model_copy(update={"weights_sha256": "2" * 64}),
        card.model_copy(update={"weights_sha256": None}),
    ]
    fresh = [ModelCard.model_validate(other.model_dump()) for other in others]
    assert len({card.digest, *(other.digest for other in fresh)}) == 5


def test_unpack_of_sixteen_bytes_a_token_is_the_bytes_themselves() -> None:
    payload = np.random.default_rng(0).bytes(64 * 16)
    symbols = Codebook(groups=16, bits_per_group=8).unpack(payload)
    assert symbols.dtype == np.int64
    np.testing.assert_array_equal(symbols, np.frombuffer(payload, np.uint8).reshape(64, 16))


def test_unpack_reads_bits_from_the_least_significant_and_skips_the_padding() -> None:
    # Symbols 0b00001, 0b10000 and 0b11111 of five bits fill 15 bits; the 16th is padding.
    bits = 0b00001 | 0b10000 << 5 | 0b11111 << 10
    for padding in (0, 1 << 15):
        payload = (bits | padding).to_bytes(2, "little")
        symbols = Codebook(groups=3, bits_per_group=5).unpack(payload)
        assert symbols.tolist() == [[1, 16, 31]]


@given(
    groups=st.integers(1, 20),
    bits=st.integers(1, 16),
    tokens=st.integers(0, 5),
    random=st.randoms(use_true_random=False),
)
def test_unpack_inverts_packing(groups: int, bits: int, tokens: int, random: Any) -> None:
    symbols = [[random.randrange(2**bits) for _ in range(groups)] for _ in range(tokens)]
    size = -(-groups * bits // 8)
    payload = b"".join(
        sum(symbol << (bits * place) for place, symbol in enumerate(token)).to_bytes(size, "little")
        for token in symbols
    )
    codebook = Codebook(groups=groups, bits_per_group=bits)
    unpacked = codebook.unpack(payload)
    assert unpacked.shape == (tokens, groups)
    assert unpacked.tolist() == symbols
    assert codebook.pack(np.array(symbols, np.int64).reshape(tokens, groups)) == payload


def test_the_rate_of_indices_is_their_codebooks_not_their_bytes() -> None:
    # 256 indices of 1,024 take two bytes each, but papers count 10 bits.
    indices = np.arange(256)[:, None] * 4
    code = Code.of_symbols(indices, Codebook(size=1024), 256, 256)
    assert (len(code.payload), code.bits) == (512, 2560)
    # FSQ of levels 8, 8, 8, 5, 5, 5 has 64,000 symbols, no power of two.
    fsq = Codebook(size=64_000)
    assert fsq.bits_per_group == 16
    assert fsq.bits(1024) == pytest.approx(1024 * math.log2(64_000))
    with pytest.raises(ValueError, match="a codebook of 64000 has 0 to 63999"):
        Code.of_symbols(np.array([[64_000]]), fsq, 16, 16)
    with pytest.raises(ValueError, match="a codebook of 64000"):
        fsq.unpack(b"\xff\xff")


def test_symbols_and_codebook_of_other_kinds_are_told_apart() -> None:
    wrong: list[tuple[Any, Any, str]] = [
        (np.zeros((4, 1), int), 16, r"codebook is int: give a Codebook, as Codebook\(size=1024\)"),
        (torch.zeros(4, 1).long(), Codebook(size=16), "symbols are Tensor: give a NumPy array"),
        ([[0]], Codebook(size=16), "symbols are list: give a NumPy array"),
    ]
    for symbols, codebook, text in wrong:
        with pytest.raises(ValueError, match=text):
            Code.of_symbols(symbols, codebook, 2, 2)


def test_bits_known_by_the_older_name_alone_are_a_power_of_two() -> None:
    assert Codebook.model_validate({"groups": 16, "bits_per_group": 8}).size == 256
    with pytest.raises(ValueError, match="do not fit into 3 bits"):
        Codebook(size=9, bits_per_group=3)


@pytest.mark.parametrize("bits", [-1, 0, 17, math.inf, math.nan, float("nan"), np.float64("nan")])
def test_a_rate_that_is_none_of_the_payload_is_refused(bits: float) -> None:
    assert Code(b"ab", 8, 8).bits == 16
    assert Code(b"ab", 8, 8, 0.5).bits == 0.5
    with pytest.raises(
        ValueError, match="of a payload of 16 bits: give more than 0 and at most 16"
    ):
        Code(b"ab", 8, 8, bits)


def test_a_payload_without_bytes_has_no_bits() -> None:
    assert Code(b"", 8, 8).bits == Code(b"", 8, 8, 0).bits == 0
    with pytest.raises(ValueError, match="bits=1 is no rate of a payload of 0 bits: give 0"):
        Code(b"", 8, 8, 1)


def test_unpack_refuses_a_payload_that_holds_no_whole_number_of_tokens() -> None:
    with pytest.raises(ValueError, match="reshape"):
        Codebook(groups=16, bits_per_group=8).unpack(bytes(17))


def test_absent_metric_has_no_value_but_a_reason_and_a_direction() -> None:
    cell = MetricValue.absent("withheld: too few images", higher_is_better=False)
    assert cell.value is None
    assert cell.status == "withheld: too few images"
    assert cell.higher_is_better is False
    assert cell.n == 0


def test_computed_metric_says_ok() -> None:
    assert MetricValue(value=1.0).status == "ok"


def test_result_record_survives_json_and_fits_its_published_schema() -> None:
    record = result_record()
    text = record.model_dump_json()
    assert ResultRecord.model_validate_json(text) == record
    schema = ResultRecord.model_json_schema(mode="serialization")
    jsonschema.validate(json.loads(text), schema)
    assert json.loads(text)["schema_version"] == SCHEMA_VERSION


def test_result_record_value_is_none_where_absent_or_not_asked_for() -> None:
    record = result_record()
    assert record.value("psnr") == 24.5
    assert record.value("rfid") is None
    assert record.value("fid") is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (MetricValue, {"value": 1.0, "ci_lo": 0.5}),
        (Sample, {"id": "a", "index": 0, "sha256": "", "digest": ""}),
        (Codebook, {"groups": 1, "bits_per_group": 1, "bits": 2}),
    ],
)
def test_misspelt_fields_are_refused(kind: type[Record], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate(fields)


def test_records_are_frozen() -> None:
    sample = Sample(id="a", index=0, sha256="")
    with pytest.raises(ValidationError, match="frozen"):
        sample.index = 1  # type: ignore[misc]


def test_sample_index_is_not_negative() -> None:
    with pytest.raises(ValidationError):
        Sample(id="a", index=-1, sha256="")


def test_statuses_are_the_documented_words() -> None:
    assert [status.value for status in Status] == [
        "ok",
        "model_error",
        "decode_error",
        "parse_error",
        "judge_error",
        "missing",
    ]


def test_nested_settings_have_dotted_names() -> None:
    assert dotted({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {
        "a.b": 1,
        "a.c.d": [2],
        "e": None,
    }


def test_settings_without_stages_all_count_to_the_first() -> None:
    protocol = Protocol(name="a", title="A", settings={"b": {"c": 1}, "d": {}})
    assert all(protocol.until(stage) == protocol.settings for stage in Stage)
    assert set(protocol.digests.values()) == {protocol.digest}


def test_a_card_states_rates_of_codes_and_of_latents() -> None:
    binary = ModelCard(name="a", codebook=Codebook(groups=16, bits_per_group=8), tokens=64)
    assert binary.stated == {
        "codebook": "2^128", "tokens": 64, "bits": 8192, "bpp": 0.125, "compression": 192,
    }  # fmt: skip
    indices = ModelCard(name="a", codebook=Codebook(size=16_384), tokens=256)
    assert indices.stated["codebook"] == "16384"
    assert indices.stated["bits"] == 256 * 14
    assert ModelCard(name="a", codebook=Codebook(size=64_000)).stated == {"codebook": "64000"}
    latents = ModelCard(name="a", latents=Latents(channels=4, dtype="float16"), tokens=1024)
    assert latents.stated["continuous"] == "float16"
    assert latents.stated["bpp"] == 1024 * 4 * 16 / 65_536
    assert "codebook" not in latents.stated
    assert ModelCard(name="a", tokens=64).stated == {}


def test_what_a_card_says_for_people_is_no_part_of_its_identity() -> None:
    bare = ModelCard(name="a", weights_sha256="0" * 64)
    told = bare.model_copy(
        update={"source": "owner/name", "revision": "abc", "licence": "mit", "tokens": 64}
    )
    assert ModelCard(**told.model_dump()).digest == bare.digest
