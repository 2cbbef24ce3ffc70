"""`python -m uwt_eval`, the same as `uwt-eval`."""

import sys
from pathlib import Path

# `python -m` looks into the working directory first, which may have a folder `tasks` of its own.
# In its place stands the folder of this package: in a checkout beside an installation, all of the
# code is the checkout's.
if not sys.flags.safe_path:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from uwt_eval.main import main

main()
