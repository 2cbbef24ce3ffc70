"""The configuration of the tokenizer, and its translation to the released names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from uniwetok.fields import Mapped, check_count

Architecture = Literal["uniwetok", "wetok"]
Bottleneck = Literal["double", "single"]

NORM_GROUPS = 32
"""Groups of every GroupNorm (released code); each width must be a multiple of it."""

_RELEASED_NAMES = {
    "in_channels": "in_channels",
    "out_ch": "out_channels",
    "ch": "channels",
    "ch_mult": "channel_multipliers",
    "num_res_blocks": "num_res_blocks",
    "z_channels": "latent_channels",
    "attn_blocks": "attention_blocks",
    "n_heads": "heads",
}
_RELEASED_DEFAULTS = {"ch_mult": (1, 2, 2, 4), "attn_blocks": 2, "n_heads": 16}
_RELEASED_ATTENTION = {"attn_blocks", "n_heads"}
_RELEASED_BESIDE = {"gan_decoder", "num_codebooks", "checkpoint"}
"""Arguments of the released WeTok and BitDance models beside their ``ddconfig``."""
_RELEASED_UNUSED = {"resolution", "double_z"}
_RELEASED_REGISTER_TOKENS = 4
_RELEASED_BITS_PER_GROUP = 8
_WETOK: dict[str, Any] = {
    "architecture": "wetok",
    "attention_blocks": 0,
    "register_tokens": 0,
    "siglu": False,
    "bottleneck": "single",
}
_WETOK_PADDING = 16


@dataclass(frozen=True, kw_only=True)
class UniWeTokConfig(Mapped):
    """Sizes of a UniWeTok autoencoder, or of a WeTok; the defaults are the paper's (Tab. 14-33)."""

    in_channels: int = 3
    """Channels of the image that is encoded (RGB)."""
    out_channels: int = 3
    """Channels of the image that is decoded (RGB)."""
    channels: int = 128
    """Base width; level i is ``channels * channel_multipliers[i]`` wide (paper, "ch")."""
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 8)
    """Width of each level; every level but the last halves the image (paper, "ch_mult")."""
    num_res_blocks: int = 2
    """Residual blocks a level, and in the middle of the decoder; 0 leaves the transformer only."""
    plain_levels: int = 0
    """Finest levels that have no residual blocks, where ``num_res_blocks`` gives the others some:
    on a CPU most of the time goes there. Ours; paper and released: none."""
    latent_channels: int = 128
    """Bits of one token (paper: codebook of 2^128)."""
    attention_blocks: int = 16
    """Transformer blocks in each of encoder and decoder; 0 leaves the CNN only (paper)."""
    heads: int = 16
    """Attention heads. The paper does not say; 16 is the default of the released code.
    Neither the names nor the shapes of the weights depend on it."""
    register_tokens: int = 4
    """Learned tokens before the spatial ones (released code; the paper does not mention them)."""
    groups: int = 16
    """Groups of the group-wise quantizer: 16 groups of 8 bits (paper, g and d')."""
    siglu: bool = True
    """End the encoder in SigLu, which bounds the latents to (-1, 1). Paper: on; Tab. 2 compares.
    Weights do not show it."""
    bottleneck: Bottleneck = "double"
    """Where the encoder widens: inside the strided convolutions, so that each level has one width,
    or, "single", in each level's first residual block, by a 1x1 shortcut, as WeTok. Paper: double;
    Tab. 4 compares."""
    rope_in_activation_dtype: bool = False
    """Build the rotary table in the dtype of the activations, as the released code does.
    It changes results in half precision only; the default is a float32 table."""
    architecture: Architecture = "uniwetok"
    """What the networks are built of: "uniwetok", whose transformer mixes the tokens, or "wetok",
    the convolutional autoencoder of WeTok and BitDance, with residual blocks in the transformer's
    place and a swish before the latents' projection. The names of the weights tell them apart."""
    generative: bool = True
    """Give the decoder noise beside the codes (paper, WeTok's "GAN decoder"); UniWeTok always
    does, WeTok and BitDance in some of their models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "channel_multipliers", tuple(self.channel_multipliers))
        for name in ("in_channels", "out_channels", "channels", "latent_channels", "groups"):
            check_count(name, getattr(self, name))
        for name in ("num_res_blocks", "plain_levels", "attention_blocks", "register_tokens"):
            check_count(name, getattr(self, name), least=0)
        check_count("heads", self.heads)
        for name in ("siglu", "generative"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        self._check_architecture()
        self._check_widths()
        if self.latent_channels % self.groups:
            raise ValueError(
                f"groups={self.groups} does not divide latent_channels={self.latent_channels}"
            )
        if self.attention_blocks:
            check_heads(self.width, self.heads)

    def _check_architecture(self) -> None:
        if self.architecture == "uniwetok":
            if not self.generative:
                raise ValueError("generative=False: only a decoder of WeTok's can do without noise")
        elif self.attention_blocks or self.register_tokens or not self.num_res_blocks:
            raise ValueError(
                f"architecture='wetok' has no transformer and at least one residual block a level: "
                f"set attention_blocks={self.attention_blocks} and "
                f"register_tokens={self.register_tokens} to 0, "
                f"num_res_blocks={self.num_res_blocks} to 1 or more"
            )

    def _check_widths(self) -> None:
        if not self.channel_multipliers:
            raise ValueError("channel_multipliers is empty: give one multiplier a level")
        for multiplier in self.channel_multipliers:
            check_count("channel_multipliers", multiplier)
        for width in self.widths:
            if width % NORM_GROUPS:
                raise ValueError(
                    f"a level is {width} channels wide (channels={self.channels}, "
                    f"channel_multipliers={self.channel_multipliers}): every width must be a "
                    f"multiple of {NORM_GROUPS}, the groups of GroupNorm"
                )
        plain = self.widths[: self.plain_levels + 1]
        if self.plain_levels and (len(plain) <= self.plain_levels or len(set(plain)) > 1):
            raise ValueError(
                f"plain_levels={self.plain_levels}: the finest {self.plain_levels + 1} levels must "
                f"be equally wide, since a level without residual blocks cannot change the width; "
                f"they are {plain}"
            )
        if self.bottleneck == "single" and not self.num_res_blocks and len(set(self.widths)) > 1:
            raise ValueError(
                "bottleneck='single' widens in residual blocks and num_res_blocks=0 has none; "
                "use bottleneck='double'"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the full resolution to the latent one."""
        return tuple(self.channels * multiplier for multiplier in self.channel_multipliers)

    @property
    def res_blocks(self) -> tuple[int, ...]:
        """Residual blocks of each level, in the order of ``widths``."""
        return tuple(
            0 if level < self.plain_levels else self.num_res_blocks
            for level in range(len(self.widths))
        )

    @property
    def width(self) -> int:
        """Channels at the latent resolution; the width of the transformer (paper: 1024)."""
        return self.widths[-1]

    @property
    def downsample(self) -> int:
        """Image pixels along one side of a token (paper: 32)."""
        return 1 << (len(self.channel_multipliers) - 1)

    @property
    def min_image_size(self) -> int:
        """Smallest height and width, in pixels, that can be encoded: two tokens (64)."""
        return 2 * self.downsample

    @property
    def padding(self) -> int:
        """Multiple to which images are padded: whole tokens (32).

        WeTok's released evaluation pads to 16 at every rate. At 8 pixels a token that can be a
        token more than needed; at 32 the strided convolutions pad what is left.
        """
        return self.downsample if self.architecture == "uniwetok" else _WETOK_PADDING

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens of an image of this size."""
        rows, columns = (
            -(-(side + -side % self.padding) // self.downsample) for side in (height, width)
        )
        return rows, columns

    @property
    def bits_per_group(self) -> int:
        """Bits of one group of a token (paper, d' = 8)."""
        return self.latent_channels // self.groups

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one packed token, the last one padded with zero bits (paper: 16)."""
        return -(-self.latent_channels // 8)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; later additions only where they are used."""
        values = self._values()
        # Results and encoders are known by digests of these values, from before there were more.
        if self.architecture == "uniwetok":
            del values["architecture"], values["generative"]
        if not self.plain_levels:
            del values["plain_levels"]
        return values

    def _values(self) -> dict[str, Any]:
        return {**asdict(self), "channel_multipliers": list(self.channel_multipliers)}

    def differences(self, other: UniWeTokConfig) -> dict[str, Any]:
        """Return this configuration's values of the fields that shape weights and differ."""
        ours, theirs = self._values(), other._values()
        unseen = {"heads", "groups", "siglu", "rope_in_activation_dtype"}
        return {k: v for k, v in ours.items() if k not in unseen and v != theirs[k]}

    @classmethod
    def wetok(cls, **sizes: Any) -> UniWeTokConfig:
        """Return a convolutional autoencoder as WeTok and BitDance release them.

        It has no transformer, registers or SigLu, and residual blocks widen, where ``sizes`` do not
        say otherwise.
        """
        return cls(**{**_WETOK, **sizes})

    @classmethod
    def from_released(
        cls,
        ddconfig: Mapping[str, Any],
        architecture: Architecture = "uniwetok",
        generative: bool = False,
    ) -> UniWeTokConfig:
        """Translate the released ``ddconfig``, or an ``ae_config.json`` that holds one.

        ``resolution`` and ``double_z`` are accepted and ignored, as are most entries beside
        ``ddconfig``: of ``gan_decoder`` and ``num_codebooks``, which say whether the decoder is
        generative and how many groups there are, the released UniWeTok reads neither. Absent
        ``ch_mult``, ``attn_blocks`` and ``n_heads`` take the defaults of the released code ((1, 2,
        2, 4), 2 and 16). Groups that nothing names are of 8 bits; SigLu and the bottleneck are
        fixed in the released code.

        Args:
            ddconfig: the released mapping.
            architecture: which of the two the weights are of; the mapping may fit both.
            generative: whether a WeTok's decoder is, where ``gan_decoder`` does not say.

        Raises:
            ValueError: a required entry is absent, unknown or impossible.
        """
        convolutional = architecture == "wetok"
        names = {
            theirs: ours
            for theirs, ours in _RELEASED_NAMES.items()
            if not (convolutional and theirs in _RELEASED_ATTENTION)
        }
        defaults = {name: _RELEASED_DEFAULTS[name] for name in _RELEASED_DEFAULTS if name in names}
        values = {**defaults, **ddconfig.get("ddconfig", ddconfig)}
        missing = sorted(names.keys() - values.keys())
        beside = _RELEASED_BESIDE if convolutional else set()
        unknown = sorted(values.keys() - names.keys() - _RELEASED_UNUSED - beside)
        if missing or unknown:
            raise ValueError(
                f"not a released ddconfig: missing {missing}, unknown {unknown}; "
                f"known: {', '.join(names)}"
            )
        sizes = {ours: values[theirs] for theirs, ours in names.items()}
        sizes["groups"] = default_groups(sizes["latent_channels"])
        if not convolutional:
            return cls(**sizes)
        sizes["groups"] = ddconfig.get("num_codebooks", sizes["groups"])
        return cls.wetok(**sizes, generative=ddconfig.get("gan_decoder", generative))

    def to_released(self) -> dict[str, Any]:
        """Return UniWeTok's released ``ddconfig``; it holds neither groups nor the rotary option.

        Raises:
            ValueError: it is no UniWeTok, ``register_tokens`` is not 4, the only number the
                released code has, or the model has no SigLu, another bottleneck or plain levels,
                which the released code cannot build.
        """
        if self.architecture != "uniwetok":
            raise ValueError("architecture='wetok' has another ddconfig than UniWeTok's")
        if self.register_tokens != _RELEASED_REGISTER_TOKENS:
            raise ValueError(
                f"register_tokens={self.register_tokens}: the released code always has "
                f"{_RELEASED_REGISTER_TOKENS}"
            )
        if not self.siglu or self.bottleneck != "double":
            raise ValueError(
                f"siglu={self.siglu}, bottleneck={self.bottleneck!r}: the released code always has "
                f"SigLu and the double bottleneck"
            )
        if self.plain_levels:
            raise ValueError(
                f"plain_levels={self.plain_levels}: in the released code every level has the same "
                f"residual blocks"
            )
        ours = self.to_dict()
        released = {theirs: ours[name] for theirs, name in _RELEASED_NAMES.items()}
        return {**released, "double_z": False, "resolution": 256}


def default_groups(latent_channels: int) -> int:
    """Number of groups when nothing names it: groups of 8 bits, or one if 8 does not divide."""
    full, rest = divmod(latent_channels, _RELEASED_BITS_PER_GROUP)
    return 1 if rest else full


def check_heads(width: int, heads: int) -> None:
    """Require heads of a size that two-dimensional rotary positions can turn.

    Half of a head's channels turn with the row, half with the column, and they turn in pairs.

    Raises:
        ValueError: they are of another size.
    """
    if width % (4 * heads):
        raise ValueError(
            f"heads={heads} does not split width {width} into heads whose size is a multiple of 4, "
            f"as the two-dimensional rotary embedding needs"
        )
