"""`python -m facula` is the `facula` command."""

import sys

from facula.cli import main

sys.exit(main())
