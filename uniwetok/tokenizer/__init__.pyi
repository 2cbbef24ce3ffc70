from .checkpoint import CheckpointError as CheckpointError, LoadReport as LoadReport
from .config import UniWeTokConfig as UniWeTokConfig
from .model import UniWeTok as UniWeTok
