"""``python -m firstlight_hub`` is ``firstlight-hub``."""

import sys

from firstlight_hub.cli import main

sys.exit(main())
