"""How many labels until the search says "you can stop", and how good is what it recommends then? Simulated people.

The worlds are those of ``duels.py``: all utilities are known, and one person prefers by Bradley and Terry's law.
The search is ``pes`` as recommended, except that the pool does not grow, so that there is one best prompt to be found.

    python benchmarks/labels_to_stop.py [--seeds 100]
"""

import argparse
from multiprocessing import Pool
from statistics import fmean, quantiles

from duels import EPSILON, EVEN, Course, follow

from promptopt.registry import configure

POOLS = (4, 8, 15, 30)
SETTINGS = {"grow_every": 0, "source": "operators", "ahead": 0, "duels": 150}


def run(job: tuple[int, int]) -> Course:
    """Follow one search to its own end."""
    pool, seed = job
    return follow(configure("pes", settings={**SETTINGS, "pool": pool}), seed, EVEN)


def main() -> None:
    """Print a row for each size of the pool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    print(f"prompts | labels at the end: median, quartiles | within {EPSILON:.0%} of the range of the best | way gone")
    with Pool(given.processes) as pool:
        for size in POOLS:
            courses = list(pool.imap(run, [(size, seed) for seed in range(given.seeds)], chunksize=4))
            low, middle, high = quantiles([len(course.utilities) for course in courses], n=4)
            near = fmean(c.utilities[-1] >= c.best - EPSILON * (c.best - c.worst) for c in courses)
            height = fmean(course.heights()[-1] for course in courses)
            print(f"{size:7d} | {middle:.0f} ({low:.0f} to {high:.0f}) | {near:.0%} | {height:.2f}", flush=True)


if __name__ == "__main__":
    main()
