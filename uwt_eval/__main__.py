"""`python -m uwt_eval`, the same as `uwt-eval`."""

import sys

# `python -m` looks into the working directory first, which may have a folder `tasks` of its own.
if not sys.flags.safe_path:
    del sys.path[0]

from uwt_eval.main import main

main()
