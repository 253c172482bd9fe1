"""Run every benchmark in its own process and print one table: ours, peer, ratio, limit."""

import json
import subprocess
import sys
from pathlib import Path

HEADER = ("benchmark", "ours", "peer", "peer's time / ours", "limit", "within")


def main() -> int:
    """Print the table as Markdown; the exit code counts benchmarks that failed to run."""
    failed = 0
    print("| " + " | ".join(HEADER) + " |")
    print("|" + " --- |" * len(HEADER))
    for script in sorted(Path(__file__).parent.glob("bench_*.py")):
        run = subprocess.run([sys.executable, script], capture_output=True, text=True)
        if run.returncode:
            failed += 1
            print(f"{script.name} failed:\n{run.stderr}", file=sys.stderr)
            continue
        for line in run.stdout.splitlines():
            print(row(json.loads(line)))
    return failed


def row(result: dict[str, object]) -> str:
    """One result as a row of the table; details that only it has stand behind the limit."""
    known = {"benchmark", "ours_s", "peer", "peer_s", "ratio", "limit", "within"}
    details = ", ".join(
        f"{name.replace('_', ' ')}: {value}" for name, value in result.items() if name not in known
    )
    limit = "; ".join(filter(None, (str(result.get("limit", "")), details)))
    cells = (
        str(result["benchmark"]),
        f"{result['ours_s']:.3g} s",
        f"{result.get('peer', '')}: {result['peer_s']:.3g} s",
        f"{result['ratio']:.2f}",
        limit,
        {True: "yes", False: "no"}.get(result.get("within"), ""),  # type: ignore[arg-type]
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
