"""Run every benchmark in its own process and print one table: ours, peer, ratio, limit."""

import json
import subprocess
import sys
from pathlib import Path

PAGE = """# Benchmarks

Each hot path beside the tool one would otherwise pick, interleaved in one run (`make bench`).
Ratios are medians over rounds; absolute times mean little.

{table}
"""
HEADER = ("benchmark", "ours", "peer", "peer's time / ours", "limit", "within")


def main(page: Path | None) -> int:
    """Print the table, and write it to a page if wanted; the result counts what failed to run."""
    failed = 0
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    for script in sorted(Path(__file__).parent.glob("bench_*.py")):
        run = subprocess.run([sys.executable, script], capture_output=True, text=True)
        if run.returncode:
            failed += 1
            print(f"{script.name} failed:\n{run.stderr}", file=sys.stderr)
        lines += [row(json.loads(line)) for line in run.stdout.splitlines()]
    print("\n".join(lines))
    if page is not None and not failed:
        page.write_text(PAGE.format(table="\n".join(lines)), encoding="utf-8")
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
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
