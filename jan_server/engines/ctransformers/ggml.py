"""ggml of September 2023, which computes in the library: the one product that is asked of it.

Structures and functions are those of its ggml.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any


class _InitParams(ctypes.Structure):
    """ggml.h's `ggml_init_params`."""

    _fields_ = (
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


class _Plan(ctypes.Structure):
    """ggml.h's `ggml_cplan`: `n_tasks` of GGML_MAX_NODES, then what would abort it."""

    _fields_ = (
        ("work_size", ctypes.c_size_t),
        ("work_data", ctypes.c_void_p),
        ("n_threads", ctypes.c_int),
        ("n_tasks", ctypes.c_int * 4096),
        ("abort_callback", ctypes.c_void_p),
        ("abort_callback_data", ctypes.c_void_p),
    )


_POINTER = ctypes.c_void_p
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "ggml_init": (_POINTER, [_InitParams]),
    "ggml_free": (None, [_POINTER]),
    "ggml_tensor_overhead": (ctypes.c_size_t, []),
    "ggml_graph_overhead": (ctypes.c_size_t, []),
    "ggml_new_tensor_1d": (_POINTER, [_POINTER, ctypes.c_int, ctypes.c_int64]),
    "ggml_mul_mat": (_POINTER, [_POINTER, _POINTER, _POINTER]),
    "ggml_get_data": (_POINTER, [_POINTER]),
    "ggml_new_graph": (_POINTER, [_POINTER]),
    "ggml_build_forward_expand": (None, [_POINTER, _POINTER]),
    "ggml_graph_plan": (_Plan, [_POINTER, ctypes.c_int]),
    "ggml_graph_compute": (ctypes.c_int, [_POINTER, ctypes.POINTER(_Plan)]),
}
_FLOAT = 0
"""ggml.h's GGML_TYPE_F32."""


def declare(library: Any, functions: Mapping[str, tuple[Any, list[Any]]]) -> None:
    """Give functions their types, of the result and of the arguments, by their names.

    Raises AttributeError when the library lacks one.
    """
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


class Product:
    """A matrix, a `ggml_tensor *` with `rows` of `width`, times vectors.

    One thread at a time; `close` frees its memory, which is not the matrix's. Raises MemoryError.
    """

    def __init__(self, library: Any, matrix: Any, *, width: int, rows: int) -> None:
        declare(library, FUNCTIONS)
        self._library = library
        self._sizes = [size * ctypes.sizeof(ctypes.c_float) for size in (width, rows)]
        # For each of the three that are made, what keeps their data aligned too.
        overhead = library.ggml_graph_overhead() + 4 * library.ggml_tensor_overhead()
        self._context = library.ggml_init(_InitParams(overhead + sum(self._sizes), None, False))
        if not self._context:
            raise MemoryError("ggml has no room for another context")
        self._vector = library.ggml_new_tensor_1d(self._context, _FLOAT, width)
        self._result = library.ggml_mul_mat(self._context, matrix, self._vector)
        self._graph = library.ggml_new_graph(self._context)
        library.ggml_build_forward_expand(self._graph, self._result)
        self._plans: dict[int, tuple[_Plan, Any]] = {}

    def compute(self, vector: Any, result: Any, *, threads: int) -> None:
        """Pointers to `width` floats that are read, and to `rows` that are written."""
        data, (taken, given) = self._library.ggml_get_data, self._sizes
        ctypes.memmove(data(self._vector), vector, taken)
        plan, _ = self._plans.get(threads) or self._planned(threads)
        self._library.ggml_graph_compute(self._graph, plan)
        ctypes.memmove(result, data(self._result), given)

    def close(self) -> None:
        self._library.ggml_free(self._context)

    def _planned(self, threads: int) -> tuple[_Plan, Any]:
        plan = self._library.ggml_graph_plan(self._graph, threads)
        work = ctypes.create_string_buffer(plan.work_size)
        plan.work_data = ctypes.addressof(work)
        self._plans[threads] = plan, work
        return plan, work
