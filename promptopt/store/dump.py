"""The canonical dump of a journal: what two runs of one study must share, byte for byte.

It holds decisions only: no times, leases, usage or latency.
"""

from collections import defaultdict
from collections.abc import Iterable

from promptopt.ids import canonical_json
from promptopt.store.rows import AskRow


def dump(asks: Iterable[AskRow], consumed: Iterable[tuple[str, str]]) -> str:
    """Return one line of canonical JSON an ask.

    Args:
        asks: The journal, in order.
        consumed: Pairs of an ask's path and the key of an outcome it used, in any order.
    """
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for path, key in consumed:
        keys[path].add(key)
    return "".join(
        canonical_json(
            {
                "number": ask.number,
                "path": ask.path,
                "kind": ask.kind,
                "fingerprint": ask.fingerprint,
                "state": ask.state,
                "digest": ask.digest,
                "metric_key": ask.metric_key,
                "consumed": sorted(keys[ask.path]),
            }
        )
        + "\n"
        for ask in asks
    )
