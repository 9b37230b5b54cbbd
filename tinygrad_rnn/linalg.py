"""Linear algebra, under NumPy's names: ``tg.linalg.solve(a, b)``; ``np.linalg.solve`` records, too.

The last two axes of a tensor are the matrix, those in front of them a batch. Every function has
derivatives of any order. Where there is none (vectors of eigenvalues that coincide, a matrix
without inverse), asking for it is an error that says so.
"""

from .ops.decompositions import EighResult, QRResult, SVDResult, eigh, eigvalsh, qr, svd, svdvals
from .ops.determinants import SlogdetResult, det, slogdet
from .ops.linalg import cholesky, expm, inv, matrix_power, pinv, solve, solve_triangular
from .ops.norms import norm

__all__ = [
    "EighResult",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
    "cholesky",
    "det",
    "eigh",
    "eigvalsh",
    "expm",
    "inv",
    "matrix_power",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
]
