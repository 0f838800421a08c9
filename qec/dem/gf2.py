"""Sparse 0/1 matrices over GF(2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import scipy.sparse as sp

__all__ = ["from_columns", "product"]


def from_columns(columns: Sequence[Collection[int] | np.ndarray], *, rows: int) -> sp.csc_matrix:
    """uint8 CSC `(rows, n)`: column j has ones at the rows that `columns[j]` names an odd number of times."""
    pointers = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
    indices = np.fromiter((r for c in columns for r in c), dtype=np.int64, count=int(pointers[-1]))
    data = np.ones(len(indices), dtype=np.int32)
    return _mod_2(sp.csc_matrix((data, indices, pointers), shape=(rows, len(columns))))


def product(a: sp.spmatrix, b: sp.spmatrix) -> sp.csc_matrix:
    """a @ b mod 2 as uint8 CSC."""
    return _mod_2(sp.csc_matrix(a.astype(np.int32) @ b.astype(np.int32)))


def _mod_2(matrix: sp.csc_matrix) -> sp.csc_matrix:
    matrix.sum_duplicates()
    matrix.data &= 1
    matrix.eliminate_zeros()
    return matrix.astype(np.uint8)
