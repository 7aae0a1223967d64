"""The Winograd transforms (winograd_math.py) as vector code, LANES channels at a time, for m = 2 and m = 4.

    input    V = B^T d B      d: n x n numbers of a tile        -> n*n components, `component` bytes apart
    filter   U = G g G^T      g: 3 x 3 weights                  -> n*n components
    output   Y = A^T M A      M: n*n components                 -> m x m numbers, finished on the spot
    gradient Z = A dy A^T     dy: m x m numbers of a tile       -> n*n components       (of the weight gradient,
    weight   dw = G^T S G     S: n*n components                 -> 3 x 3 numbers         winograd_weight.py)

"Finished" is where everything a layer does to a convolution's result happens while it is still in registers: bias, ReLU
and its mask, 2x2 pooling and its switches; and in the gradient the ReLU's backward rule. The gradient's input transform
can read a pooled gradient and spread it to the cells its switches name, so the large map is never written.

Decisions as they lie in memory (decisions.py): a bit per channel for a ReLU; for ReLU + 2x2 pooling a byte, the chosen
cell 0..3 (row * 2 + column) with bit 7 set if the value is positive.

Every function loops over `count` channels (a multiple of LANES). Distances are in bytes.
"""
from llvmlite import ir

from . import vector as v
from .winograd_math import matrices

SIZE = 4                     # bytes of a float32
POSITIVE = 0x80              # flag in a pooling byte


# ----------------------------------------------------------------------------------- one-dimensional transforms


def _floats(matrix):
    return [[float(x) for x in row] for row in matrix]


def _mirrored(row, other):
    """Rows for the points +p and -p: equal but for the sign of the odd powers."""
    return [(-x if i % 2 else x) for i, x in enumerate(row)] == other


def apply_rows(b, matrix, vectors):
    """matrix @ vectors, where rows for +p and -p follow each other (B^T, G and A): even part + and - odd part."""
    rows, results, j = _floats(matrix), [], 0
    while j < len(rows):
        if j + 1 < len(rows) and any(rows[j][1::2]) and _mirrored(rows[j], rows[j + 1]):
            even = v.combination(b, rows[j][0::2], vectors[0::2])
            odd = [(x, vector) for x, vector in zip(rows[j][1::2], vectors[1::2]) if x]
            if len(odd) == 1:                   # a single term: two multiply-adds instead of product, sum, difference
                ((x, vector),) = odd
                results += [v.multiply_add(b, v.FLOAT32.constant(s * x), vector, even) for s in (1, -1)]
            else:
                odd = v.combination(b, *zip(*odd))
                results += [b.fadd(even, odd), b.fsub(even, odd)]
            j += 2
        else:
            results.append(v.combination(b, rows[j], vectors))
            j += 1
    return results


def apply_columns(b, matrix, vectors):
    """matrix @ vectors, where columns for +p and -p follow each other (A^T): sums in even rows, differences in odd."""
    rows = _floats(matrix)
    n = len(vectors)
    even, odd = [vectors[0]], [vectors[0]]
    for j in range(1, n - 1, 2):
        even.append(b.fadd(vectors[j], vectors[j + 1]))
        odd.append(b.fsub(vectors[j], vectors[j + 1]))
    even.append(vectors[n - 1])
    odd.append(vectors[n - 1])
    columns = [0, *range(1, n - 1, 2), n - 1]
    return [v.combination(b, [row[c] for c in columns], odd if i % 2 else even) for i, row in enumerate(rows)]


def _both_ways(b, apply, matrix, n, load, store):
    """matrix @ grid @ matrix^T for a grid of n x n vectors load(i, j), row by row to store(i, j, vector).

    Column after column is read and row after row written, so that as few vectors as possible wait in registers.
    """
    columns = [apply(b, matrix, [load(i, j) for i in range(n)]) for j in range(n)]
    for i, row in enumerate(zip(*columns)):
        for j, vector in enumerate(apply(b, matrix, list(row))):
            store(i, j, vector)


# ------------------------------------------------------------------------------------------------ input, filter


def _address(b, base, row_bytes, i, column_bytes, j):
    return b.add(base, b.add(v.scaled(b, row_bytes, i), v.scaled(b, column_bytes, j)))


def _tile(b, address, row, column):
    """load(i, j) of the tile at an address"""
    return lambda i, j: v.load(b, _address(b, address, row, i, column, j))


def _components(b, address, component, n):
    """store(i, j, vector) to the components of a tile, n in a row"""
    return lambda i, j, vector: v.store(b, vector, b.add(address, v.scaled(b, component, i * n + j)))


def input_transform(m):
    """f(x, row, column, out, component, count): x is the address of the tile's first number."""
    n = m + 2

    @v.emit(6)
    def transform(b, x, row, column, out, component, count):
        loop = v.Loop(b, v.scaled(b, count, SIZE), [], step=v.REGISTER)
        x, out = b.add(x, loop.index), b.add(out, loop.index)
        _both_ways(b, apply_rows, matrices(m).BT, n, _tile(b, x, row, column), _components(b, out, component, n))
        loop.end()
    return transform


def unpooling_input_transform(m):
    """f(dy, row, column, switches, switch_row, switch_column, out, component, count).

    The tile begins in the lower right cell of the 2x2 window of dy's first number; each number goes to the cell that
    its switch names, the others are zero.
    """
    n = m + 2
    side = n // 2 + 1                       # windows that the tile touches, per direction

    @v.emit(9)
    def transform(b, dy, row, column, switches, switch_row, switch_column, out, component, count):
        loop = v.Loop(b, v.scaled(b, count, SIZE), [], step=v.REGISTER)
        dy, out = b.add(dy, loop.index), b.add(out, loop.index)
        switches = b.add(switches, b.lshr(loop.index, v.integer(2)))
        grid = [[None] * n for _ in range(n)]
        for i in range(side):
            for j in range(side):
                value = v.load(b, _address(b, dy, row, i, column, j))
                byte = v.load_bytes(b, _address(b, switches, switch_row, i, switch_column, j))
                cell = b.and_(byte, v.bytes_constant(3))
                for q in range(4):
                    r, c = 2 * i - 1 + q // 2, 2 * j - 1 + q % 2
                    if 0 <= r < n and 0 <= c < n:
                        chosen = b.icmp_unsigned("==", cell, v.bytes_constant(q))
                        grid[r][c] = b.select(chosen, value, v.FLOAT32.constant(0))
        _both_ways(b, apply_rows, matrices(m).BT, n, lambda i, j: grid[i][j], _components(b, out, component, n))
        loop.end()
    return transform


def filter_transform(m):
    """f(w, row, column, step, out, component, out_step, count): one vector of weights after the other, `step` apart."""
    @v.emit(8)
    def transform(b, w, row, column, step, out, component, out_step, count):
        loop = v.Loop(b, count, [w, out])
        w, out = loop.carried
        _both_ways(b, apply_rows, matrices(m).G, 3, _tile(b, w, row, column), _components(b, out, component, m + 2))
        loop.end([b.add(w, step), b.add(out, out_step)])
    return transform


def gradient_transform(m):
    """f(dy, row, column, out, component, count): the transpose of the output transform."""
    n = m + 2

    @v.emit(6)
    def transform(b, dy, row, column, out, component, count):
        loop = v.Loop(b, v.scaled(b, count, SIZE), [], step=v.REGISTER)
        dy, out = b.add(dy, loop.index), b.add(out, loop.index)
        A = list(zip(*matrices(m).AT))
        _both_ways(b, apply_rows, A, m, _tile(b, dy, row, column), _components(b, out, component, n))
        loop.end()
    return transform


def weight_transform(m):
    """f(sums, component, out, tap, count): the transpose of the filter transform; 3x3 results, `tap` bytes apart."""
    n = m + 2

    @v.emit(5)
    def transform(b, sums, component, out, tap, count):
        loop = v.Loop(b, v.scaled(b, count, SIZE), [], step=v.REGISTER)
        sums, out = b.add(sums, loop.index), b.add(out, loop.index)
        GT = list(zip(*matrices(m).G))
        _both_ways(b, apply_columns, GT, n, _tile(b, sums, v.scaled(b, component, n), component),
                   _components(b, out, tap, 3))
        loop.end()
    return transform


@v.emit(4)
def transpose_block(b, source, row, target, target_row):
    """A block of LANES x LANES numbers, transposed in registers in log2(LANES) rounds of shuffles."""
    lanes = v.LANES
    rows = [v.load(b, b.add(source, v.scaled(b, row, i))) for i in range(lanes)]
    half = 1
    while half < lanes:                 # exchange the off-diagonal blocks of size `half`
        low = [(lane if lane & half == 0 else lane - half + lanes) for lane in range(lanes)]
        high = [(lane + half if lane & half == 0 else lane + lanes) for lane in range(lanes)]
        result = list(rows)
        for i in range(lanes):
            if i & half == 0:
                pick = ir.VectorType(v.I32, lanes)
                result[i] = b.shuffle_vector(rows[i], rows[i + half], ir.Constant(pick, low))
                result[i + half] = b.shuffle_vector(rows[i], rows[i + half], ir.Constant(pick, high))
        rows, half = result, half * 2
    for i, vector in enumerate(rows):
        v.store(b, vector, b.add(target, v.scaled(b, target_row, i)))


# ------------------------------------------------------------------------------------------------------ output


def _outputs(b, m, products, component):
    n = m + 2
    grid = [[None] * m for _ in range(m)]

    def keep(i, j, vector):
        grid[i][j] = vector
    _both_ways(b, apply_columns, matrices(m).AT, n, _tile(b, products, v.scaled(b, component, n), component), keep)
    return grid


def output_transform(m, finish):
    """f(products, component, y, row, column, extra, decisions, decision_row, decision_column, count).

    extra: for the forward finishes the address of the bias; for the gradient's a rule (see below).
    finish: "bias"      y = Y + bias
            "relu"      y = max(Y + bias, 0); writes a bit per number
            "pool"      y = the largest of each 2x2 window of that; writes a byte per window
            "mask"      y = Y where the bit is set                 extra: 0 plain, 1 guided, 2 deconv
            "pool mask" y = Y where the byte has the flag          the same
    """
    @v.emit(10)
    def transform(b, products, component, y, row, column, extra, decisions, decision_row, decision_column, count):
        loop = v.Loop(b, v.scaled(b, count, SIZE), [], step=v.REGISTER)
        grid = _outputs(b, m, b.add(products, loop.index), component)
        vectors = b.udiv(loop.index, v.integer(v.REGISTER))
        y = b.add(y, loop.index)
        whole_bytes = finish in ("pool", "pool mask")
        decisions = b.add(decisions, v.scaled(b, vectors, v.LANES if whole_bytes else v.BITS_BYTES))

        def at(i, j):
            return (_address(b, y, row, i, column, j), _address(b, decisions, decision_row, i, decision_column, j))
        if finish in ("mask", "pool mask"):
            _finish_masked(b, grid, at, extra, whole_bytes)
        else:
            bias = v.load(b, b.add(extra, loop.index))
            grid = [[b.fadd(vector, bias) for vector in line] for line in grid]
            {"bias": _finish_plain, "relu": _finish_relu, "pool": _finish_pool}[finish](b, grid, at)
        loop.end()
    return transform


def _finish_plain(b, grid, at):
    for i, line in enumerate(grid):
        for j, vector in enumerate(line):
            v.store(b, vector, at(i, j)[0])


def _finish_relu(b, grid, at):
    for i, line in enumerate(grid):
        for j, vector in enumerate(line):
            y, bits = at(i, j)
            v.store_bits(b, v.positive(b, vector), bits)
            v.store(b, v.relu(b, vector), y)


def _finish_pool(b, grid, at):
    """The first of equal cells wins, after ReLU: a window without a positive value names cell 0."""
    for i in range(0, len(grid), 2):
        for j in range(0, len(grid), 2):
            cells = [v.relu(b, grid[i + q // 2][j + q % 2]) for q in range(4)]
            best, index = cells[0], v.integers_constant(0)
            for q in (1, 2, 3):
                larger = b.fcmp_ordered(">", cells[q], best)
                best = b.select(larger, cells[q], best)
                index = b.select(larger, v.integers_constant(q), index)
            flag = b.select(v.positive(b, best), v.integers_constant(POSITIVE), v.integers_constant(0))
            y, byte = at(i // 2, j // 2)
            v.store(b, best, y)
            v.store_bytes(b, b.or_(index, flag), byte)


def positive_before(b, decision, whole_bytes):
    """Whether x was positive, for a vector of decisions at an address: bytes of poolings, or bits."""
    if whole_bytes:
        return b.icmp_unsigned(">=", v.load_bytes(b, decision), v.bytes_constant(POSITIVE))
    return v.load_bits(b, decision)


def _finish_masked(b, grid, at, rule, whole_bytes):
    for i, line in enumerate(grid):
        for j, vector in enumerate(line):
            y, decision = at(i, j)
            v.store(b, v.rule(b, vector, positive_before(b, decision, whole_bytes), rule), y)
