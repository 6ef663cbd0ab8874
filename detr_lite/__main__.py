"""`python -m detr_lite` is `detr-lite`."""

import sys

from detr_lite.cli.main import main

sys.exit(main())
