"""`python -m LeFusionLib` is `lefusion`."""

import sys

from .cli import main

sys.exit(main())
