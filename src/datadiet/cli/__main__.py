"""`python -m datadiet.cli`, the same as `datadiet`."""

from datadiet.cli import main

main()
