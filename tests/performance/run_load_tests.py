"""A load: `wavetank load`.

python tests/performance/run_load_tests.py --users 100 --duration 1h
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.thin import become

if __name__ == "__main__":
    become("load", *sys.argv[1:])
