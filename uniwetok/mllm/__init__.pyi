from .assistant import Assistant as Assistant
from .batch import Batch as Batch, collate as collate
from .chat import Replies as Replies, Reply as Reply, Sampling as Sampling
from .config import (
    LANGUAGE_MODELS as LANGUAGE_MODELS,
    PRESETS as PRESETS,
    MLLMConfig as MLLMConfig,
    MLLMError as MLLMError,
)
from .drawing import Drawing as Drawing, draw as draw
from .layout import SequenceBuilder as SequenceBuilder, TokenSequence as TokenSequence
from .model import MLLM as MLLM
from .segments import (
    Turn as Turn,
    add_special_tokens as add_special_tokens,
    check_tokenizer as check_tokenizer,
)
