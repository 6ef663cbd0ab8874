"""`python -m detr_lite` is `detr-lite`."""

import sys

from detr_lite.cli import main

sys.exit(main())
