"""Every kind of test, one after another: `wavetank pipeline run` on this folder's pipeline.

python tests/unified_test_runner.py --all                    simulated, all stages, a hundredth of their durations
python tests/unified_test_runner.py --all --real-services    end to end, load and chaos on a staging of real services
python tests/unified_test_runner.py --all --scale 1          the whole durations: hours

With --real-llm the staging asks the language model at OPENAI_BASE_URL, with OPENAI_API_KEY.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from tests.thin import become

PIPELINE = Path(__file__).with_name("pipeline.yaml")
CHOSEN = Path(".wavetank") / "pipeline.yaml"
REAL = ("e2e", "performance", "chaos")
"""Stages that can run on real services; the others search in simulation."""
NO_LLM = (
    "there is no LLM endpoint: a staging has a stand-in, and that is never taken silently for a real one. Set "
    "OPENAI_BASE_URL to one (and OPENAI_API_KEY, if it wants a key), and say --real-services too."
)


def _place(name: str, keys: dict[str, object], environment: str) -> None:
    """Let a stage run there, and say so where its file says otherwise."""
    said = keys.get("environment", "simulation")
    if environment != said:
        print(f"{name}: environment {environment}, as --real-services is or is not said; {PIPELINE.name} says {said}")
    keys["environment"] = environment


def main() -> None:
    """Write the stages that were asked for to a file, and run it."""
    stages = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"]
    names = [name for each in stages for name in each]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every stage")
    parser.add_argument("--stage", action="append", default=[], choices=names, help="one of them")
    parser.add_argument("--real-services", action="store_true", help="on a staging, which is started and ended")
    parser.add_argument("--real-llm", action="store_true", help="of that staging; refused where there is none")
    parser.add_argument("--next-release", metavar="PYTHON", help="which that staging rolls out and back")
    parser.add_argument("--scale", default="0.01", help="of all durations (0.01)")
    parser.add_argument("--defect", action="append", default=[], help="a planted bug")
    parser.add_argument("--seed", help="repeat all that is drawn")
    asked = parser.parse_args()
    llm = os.environ.get("OPENAI_BASE_URL", "") if asked.real_llm and asked.real_services else ""
    if asked.real_llm and not llm:
        print(f"unified_test_runner: {NO_LLM}", file=sys.stderr)
        sys.exit(2)
    if not asked.all and not asked.stage:
        parser.error("name the stages (--stage), or take all of them (--all)")
    chosen = [each for each in stages if asked.all or set(each) & set(asked.stage)]
    is_any_real = asked.real_services and any(name in REAL for each in chosen for name in each)
    for option in ("real_services", "real_llm", "next_release"):
        if getattr(asked, option) and not is_any_real:
            parser.error(
                f"--{option.replace('_', '-')} is of real services, and no stage would run on them: say "
                f"--real-services, and choose one of {', '.join(REAL)}"
            )
    for each in chosen:
        for name, keys in each.items():
            if name in REAL:
                _place(name, keys, "staging" if asked.real_services else "simulation")
    CHOSEN.parent.mkdir(exist_ok=True)
    CHOSEN.write_text(yaml.safe_dump({"stages": chosen}, sort_keys=False), encoding="utf-8")
    planted = [word for name in asked.defect for word in ("--defect", name)]
    seed = ["--seed", asked.seed] if asked.seed else []
    staged = ["--next-release", asked.next_release] if asked.next_release else []
    staged += ["--llm", llm] if llm else []
    sys.stdout.flush()  # what is not written yet would be lost
    become("pipeline", "run", str(CHOSEN), "--scale", asked.scale, *planted, *seed, *staged)


if __name__ == "__main__":
    main()
