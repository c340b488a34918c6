"""Chaos experiments: `wavetank chaos`.

python tests/chaos/run_experiments.py --all
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.thin import become

if __name__ == "__main__":
    become("chaos", *sys.argv[1:])
