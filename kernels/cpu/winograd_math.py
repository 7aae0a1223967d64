"""The mathematics of Winograd's convolution F(m x m, 3 x 3): the points, the three matrices, and what they cost.

One dimension first. m outputs of a correlation with 3 weights, y_i = sum_u g_u d_(i+u), read n = m + 2 inputs.
Multiplying polynomials by their values at n points (Toom and Cook), and transposing that scheme (Winograd 1980), gives

    y = A^T [ (G g) * (B^T d) ]          * : number by number, n multiplications instead of 3 m

With the finite points p_0 .. p_(n-2) and the point at infinity, and M(x) = product of all (x - p_j):

    A^T[i, j] = p_j^i / product over q != p_j of (p_j - q)   the last column (infinity) has a 1 in row m-1 alone
    G[j, u]   = p_j^u                                        the last row is (0, 0, 1)
    B^T[j, :] = coefficients of M(x) / (x - p_j), lowest power first;   the last row those of M(x)

The quotients could stand in G as well; but G is applied most often (to every filter, for a few tiles), and so it costs
least.

In two dimensions the scheme nests: Y = A^T [ (G g G^T) * (B^T d B) ] A. Summed over C input channels the products
become n*n matrix products (tiles x C) (C x K): that is where the time goes, and there are 2.25 of them per output
number for m = 4 and 4 for m = 2, against 9 for direct convolution. Lavin and Gray 2016, arXiv:1509.09308.

The points decide the rounding error: powers of far-apart points differ much in size. Measured in float32 over 256
channels against float64, largest error / largest value: (0, +-1, +-2, inf) 8.6e-6; (0, +-3/4, +-3/2, inf) 2.5e-6;
direct convolution about 1e-6. The latter points are binary fractions, so all of G and B is exact in float32, and they
come in pairs +-p, which halves the work: rows of B^T for +p and -p share their even and odd parts.
m = 6 needs 1.78 products per output, but wider transforms made it slower and its error is several times larger.
"""
from fractions import Fraction
from functools import cache
from typing import NamedTuple

POINTS = {2: (Fraction(0), Fraction(1), Fraction(-1)),
          4: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))}


class Matrices(NamedTuple):
    """n = m + 2. AT (m, n), G (n, 3), BT (n, n): tuples of tuples of Fractions."""
    AT: tuple
    G: tuple
    BT: tuple


@cache
def matrices(m):
    """The three matrices of F(m, 3), exact. ValueError if they do not compute a correlation."""
    points = POINTS[m]
    n = m + 2
    scale = [_product(p - q for q in points if q != p) for p in points]
    AT = [[p**i / s for p, s in zip(points, scale)] + [Fraction(i == m - 1)] for i in range(m)]
    G = [[p**u for u in range(3)] for p in points]
    G.append([Fraction(0), Fraction(0), Fraction(1)])
    BT = [_polynomial([q for q in points if q != p], n) for p in points] + [_polynomial(points, n)]
    result = Matrices(*(tuple(tuple(row) for row in matrix) for matrix in (AT, G, BT)))
    check(result)
    return result


def check(found):
    """y_i = sum over u of g_u d_(i+u) must hold for every unit vector g and d: then it holds for all, exactly."""
    AT, G, BT = found
    for i, row in enumerate(AT):
        for u in range(3):
            for t in range(len(BT)):
                value = sum(row[j] * G[j][u] * BT[j][t] for j in range(len(BT)))
                if value != (t == i + u):
                    raise ValueError(f"Winograd matrices are wrong: weight of g[{u}] d[{t}] in y[{i}] is {value}")


def _product(factors):
    total = Fraction(1)
    for factor in factors:
        total *= factor
    return total


def _polynomial(roots, length):
    """Coefficients, lowest power first, of the product of (x - root), filled up with zeros."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [a - root * c for a, c in zip(shifted, [*coefficients, Fraction(0)])]
    return coefficients + [Fraction(0)] * (length - len(coefficients))
