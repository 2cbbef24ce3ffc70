from .config import UniWeTokConfig as UniWeTokConfig
from .model import UniWeTok as UniWeTok
