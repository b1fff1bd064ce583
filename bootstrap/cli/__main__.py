"""``python -m bootstrap.cli``: the same as ``mindstream``, wherever scripts are not on the path."""

from bootstrap.cli import main

main()
