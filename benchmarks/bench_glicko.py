"""Glicko-2 on a million games beside the package ``glicko2``: prints one JSON line.

Run with ``python benchmarks/bench_glicko.py``; a ratio above 1 means that ours is faster. The
package computes the volatility from the rating where the deviation belongs, so that its values
differ a little; ours are tested against the equations and the published example.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from gradatim.difficulty.glicko import Glicko2
from peer_environment import peer_python, run_peer

GAMES, PLAYERS, PERIODS, ROUNDS, LIMIT = 1_000_000, 10_000, 10, 3, 50.0

PEER = """
import json, sys, time
from glicko2 import Player

table = json.load(open(sys.argv[1]))
players = [Player() for _ in range(table["count"])]
spent = 0.0
for period in table["periods"]:
    start = time.perf_counter()
    before = [(player.rating, player.rd) for player in players]
    for one, (opponents, scores) in period:
        ratings = [before[other][0] for other in opponents]
        deviations = [before[other][1] for other in opponents]
        players[one].update_player(ratings, deviations, scores)
    spent += time.perf_counter() - start
print(json.dumps({"seconds": spent, "ratings": [player.rating for player in players]}))
"""


def games() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random games between players of different strength, in periods."""
    draw = np.random.default_rng(0)
    strength = draw.normal(size=PLAYERS)
    first = draw.integers(0, PLAYERS, GAMES)
    second = (first + draw.integers(1, PLAYERS, GAMES)) % PLAYERS
    chance = 1 / (1 + np.exp(strength[second] - strength[first]))
    won = (draw.random(GAMES) < chance).astype(float)
    return first, second, won, np.arange(GAMES) * PERIODS // GAMES


def by_player(columns: tuple[np.ndarray, ...]) -> dict[str, object]:
    """The games as the package takes them: a list of opponents and scores for each player."""
    first, second, won, period = columns
    periods = []
    for one in range(PERIODS):
        rows = period == one
        lists: dict[int, tuple[list[int], list[float]]] = {}
        for a, b, score in zip(
            first[rows].tolist(), second[rows].tolist(), won[rows].tolist(), strict=True
        ):
            for who, other, gained in ((a, b, score), (b, a, 1 - score)):
                opponents, scores = lists.setdefault(who, ([], []))
                opponents.append(other)
                scores.append(gained)
        periods.append(list(lists.items()))
    return {"count": PLAYERS, "periods": periods}


def main() -> None:
    """Run both in turn, after one round of ours that is not counted."""
    columns = games()
    python = peer_python("glicko2==2.1.0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "games.json"
        path.write_text(json.dumps(by_player(columns)), encoding="utf-8")
        Glicko2().fit(columns[:3], columns[3])
        ours, peer, difference = [], [], 0.0
        for _ in range(ROUNDS):
            start = time.perf_counter()
            glicko = Glicko2().fit(columns[:3], columns[3])
            ours.append(time.perf_counter() - start)
            found = run_peer(python, PEER, str(path))
            peer.append(found["seconds"])
            theirs = np.array(found["ratings"])[np.array(glicko.names_)]
            difference = float(np.abs(theirs - glicko.rating_).max())
    ratio = statistics.median(p / o for o, p in zip(ours, peer, strict=True))
    line = {
        "benchmark": f"Glicko-2, {GAMES:,} games of {PLAYERS:,} players in {PERIODS} periods",
        "ours_s": statistics.median(ours),
        "peer": "glicko2 2.1.0",
        "peer_s": statistics.median(peer),
        "ratio": ratio,
        "limit": f"ratio at least {LIMIT:.0f}",
        "within": ratio >= LIMIT,
        "largest_difference_of_a_rating": round(difference, 2),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
