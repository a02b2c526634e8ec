"""Try everything that a study will need, and say of each stage whether it is ready.

Usage: python scripts/preflight.py PLAN     (a JSON file; see launcher.preflight.flight)
The status is 0 if all is ready.
"""

import sys

from launcher.preflight.flight import main

sys.exit(main(sys.argv[1]))
