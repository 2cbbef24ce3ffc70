"""Encoding and decoding as tasks of the engine: resumed, shared out and counted as every other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine.protocols import FiledTask
from harness.interfaces.errors import UserError
from harness.interfaces.types import Protocol, TaskSpec
from tasks import PROTOCOLS

if TYPE_CHECKING:
    from tasks.codes.data import CodesToDecode, ImagesToEncode

_LAYOUT = (
    "a folder of images, a .zip or .tar of one, a folder of .tar shards, or a "
    "Hugging Face dataset folder or .parquet"
)


class EncodeTask(FiledTask):
    """Encode every image; nothing is decoded."""

    def open(self, data: str | None, protocol: Protocol) -> ImagesToEncode:
        """The images at `data`, or the embedded sample set."""
        from tasks.codes.data import ImagesToEncode

        settings = self.settings(protocol)
        if data is None:
            from tasks.shared.sample_set import SampleSet

            notice = "no data given: these are the codes of the embedded sample set"
            return ImagesToEncode(SampleSet(), settings, "sample-set", notice)
        from harness.data.sources import open_source

        source = open_source(data, self.spec.layout)
        return ImagesToEncode(source, settings, Path(data).name or data, source.note)


class DecodeTask(FiledTask):
    """Decode a folder of codes; every picture is kept."""

    def open(self, data: str | None, protocol: Protocol) -> CodesToDecode:
        """The codes that `uwt-eval encode` wrote to `data`."""
        from tasks.codes.data import CodesToDecode
        from tasks.codes.files import open_codes

        del protocol
        if data is None:
            raise UserError(f"task {self.spec.name!r} has no data of its own: give --data CODES")
        return CodesToDecode(open_codes(Path(data)), Path(data).name or data)


ENCODE = EncodeTask(
    TaskSpec(
        name="encode",
        version=1,
        title="Codes of images, as `uwt-eval encode` writes them to files",
        kind="encode",
        interface="VisualTokenizer",
        dataset="any images",
        layout=_LAYOUT,
        metrics=("bpp", "usage_pooled", "usage_group", "usage_joint"),
        protocols=("whole", "crop-256"),
        default_models=("uniwetok-nano",),
    ),
    PROTOCOLS,
)
DECODE = DecodeTask(
    TaskSpec(
        name="decode",
        version=1,
        title="Pictures of codes, as `uwt-eval decode` writes them to files",
        kind="decode",
        interface="VisualTokenizer",
        dataset="codes that `uwt-eval encode` wrote",
        layout="a folder that `uwt-eval encode` wrote",
        metrics=("bpp",),
        protocols=("whole",),
    ),
    PROTOCOLS,
)
