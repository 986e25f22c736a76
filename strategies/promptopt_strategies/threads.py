"""Threads: how many the linear algebra of a strategy may use."""

from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
T = TypeVar("T")


def on_one_thread(calculate: Callable[P, T]) -> Callable[P, T]:
    """Keep BLAS to one thread: for matrices this small more only wait for each other, for long on a busy machine."""

    @wraps(calculate)
    def calculated(*args: P.args, **kwargs: P.kwargs) -> T:
        with _pools().limit(limits=1, user_api="blas"):
            return calculate(*args, **kwargs)

    return calculated


@cache
def _pools() -> "ThreadpoolController":
    import numpy  # noqa: F401, ICN001  # a pool can be limited once its library is loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
