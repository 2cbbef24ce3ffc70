from .config import PRESETS as PRESETS, BitDanceConfig as BitDanceConfig
from .guidance import Guidance as Guidance
from .model import BitDance as BitDance
from .sampler import sample as sample
