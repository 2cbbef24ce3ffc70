"""`python -m harness`, which is also what `torchrun -m harness` starts."""

from harness.cli import main

main()
