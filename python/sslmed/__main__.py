"""``python -m sslmed``."""

from sslmed.cli import main

main()
