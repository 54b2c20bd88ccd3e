"""`python -m tbmetrics` is the `tbmetrics` command."""

import sys

from tbmetrics.cli import main

sys.exit(main())
