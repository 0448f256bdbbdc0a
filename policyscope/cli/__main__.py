"""`python -m policyscope.cli`."""

import sys

from policyscope.cli.main import main

sys.exit(main())
