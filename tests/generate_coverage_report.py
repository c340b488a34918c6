"""Coverage of what matters: `wavetank coverage`.

python tests/generate_coverage_report.py --critical-only
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.thin import become

if __name__ == "__main__":
    become("coverage", *sys.argv[1:])
