from .api import (
    compare as compare,
    evaluate as evaluate,
    load_runs as load_runs,
    metrics as metrics,
)
from .results import Results as Results
from .training import Every as Every
from .wrapping import WrappedTokenizer as WrappedTokenizer, tokenizer as tokenizer

__version__: str
