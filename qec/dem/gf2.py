"""Sparse 0/1 matrices over GF(2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import scipy.sparse as sp

__all__ = ["even_sets", "from_columns", "product"]


def from_columns(columns: Sequence[Collection[int] | np.ndarray], *, rows: int) -> sp.csc_matrix:
    """uint8 CSC `(rows, n)`: column j has ones at the rows that `columns[j]` names an odd number of times."""
    pointers = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
    indices = np.fromiter((r for c in columns for r in c), dtype=np.int64, count=int(pointers[-1]))
    data = np.ones(len(indices), dtype=np.int32)
    return _mod_2(sp.csc_matrix((data, indices, pointers), shape=(rows, len(columns))))


def product(a: sp.spmatrix, b: sp.spmatrix) -> sp.csc_matrix:
    """a @ b mod 2 as uint8 CSC."""
    return _mod_2(sp.csc_matrix(a.astype(np.int32) @ b.astype(np.int32)))


def even_sets(matrix: sp.csc_matrix) -> np.ndarray:
    """Sets of rows that every column has an even number of ones in: a basis of the left null space.

    What the columns can add up to are those vectors that have an even number of ones in each of these sets.

    Args:
        matrix: 0/1 `(rows, n)`; it is made dense, one bit an entry.

    Returns:
        uint8 0/1 `(rows - rank, rows)`.
    """
    rows = matrix.shape[0]
    left = np.packbits(matrix.toarray().astype(bool), axis=1)
    sums = np.packbits(np.eye(rows, dtype=bool), axis=1)  # the rows of which those of `left` are the sum
    for row in range(rows):
        (found,) = left[row].nonzero()
        if len(found):
            byte = left[row, found[0]]
            lowest = byte & ~(byte - 1)
            others = row + 1 + (left[row + 1 :, found[0]] & lowest).nonzero()[0]
            left[others] ^= left[row]
            sums[others] ^= sums[row]
    return np.unpackbits(sums[~left.any(axis=1)], axis=1, count=rows)


def _mod_2(matrix: sp.csc_matrix) -> sp.csc_matrix:
    matrix.sum_duplicates()
    matrix.data &= 1
    matrix.eliminate_zeros()
    return matrix.astype(np.uint8)
