"""A Langevin step in Triton kernels, for CUDA devices.

A step is six convolutions with ReLU, padding and gates between them, and the move. Here bias, ReLU,
gate and the margins of the next map are the last lines of each convolution, so that a map is
written once and read once; the noise is drawn inside the move and never stored.

Maps are contiguous (N, rows, cols, D), with margins, and D channels of which the last may be
filling. A convolution computes *groups* of g x h places side by side: matrix units want about 128
columns, and a group reads each value once for all of its places, with filters that are a place or
two wider. Importing this module needs Triton, which PyTorch brings along for CUDA on Linux.

The noise is Philox 4x32 with ten rounds (Salmon et al. 2011) and Box and Muller's transform. Its
key is a hash of (seed, purpose, step); its counter is the place in a band of rows, the chain, the
band and the group of four channels.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_VALUES = 4096  # of a map that one program handles
_PIXELS = 256  # of an image that one program handles


@triton.jit
def _around(y, n):
    """An index of any sign on a circle of ``n``."""
    return ((y % n) + n) % n


@triton.jit(do_not_specialize=["step"])
def _into_blocks(
    images,
    out,
    shifts,
    step,
    H,
    W,
    rows,
    cols,
    lead,
    C: tl.constexpr,
    D: tl.constexpr,
    S: tl.constexpr,
    WRAP: tl.constexpr,
    SHIFT: tl.constexpr,
    WIDE: tl.constexpr,
    PLACES: tl.constexpr,
):
    """out[Y, X, :] = the images' block (Y - lead, X - lead), rolled by a shift."""
    place = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    n = tl.program_id(1).to(tl.int64)
    k = tl.arange(0, WIDE)
    c, dy, dx = k // (S * S), (k // S) % S, k % S
    y = ((place // cols - lead) * S)[:, None] + dy[None, :]
    x = ((place % cols - lead) * S)[:, None] + dx[None, :]
    if SHIFT:
        y -= tl.load(shifts + 2 * step)
        x -= tl.load(shifts + 2 * step + 1)
    if WRAP:
        y, x = _around(y, H), _around(x, W)
    fits = (place < rows * cols)[:, None] & (k < D)[None, :]
    seen = fits & (c < C)[None, :] & (y >= 0) & (y < H) & (x >= 0) & (x < W)
    a = tl.load(images + n * H * W * C + (y * W + x) * C + c[None, :], mask=seen, other=0.0)
    at = place[:, None] * D + k[None, :]
    tl.store(out + n * rows * cols * D + at, a.to(out.dtype.element_ty), mask=fits)


@triton.jit
def _convolve(
    source,
    filters,
    bias,
    gate,
    out,
    total,
    tall,
    wide,
    rows,
    cols,
    gate_rows,
    gate_cols,
    gate_lead,
    H,
    W,
    out_rows,
    out_cols,
    lead,
    after,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    RUN: tl.constexpr,
    GH: tl.constexpr,
    GW: tl.constexpr,
    P: tl.constexpr,
    FILTERS: tl.constexpr,
    KIND: tl.constexpr,
    WRAP: tl.constexpr,
    PRECISION: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
    K: tl.constexpr,
    STAGES: tl.constexpr,
):
    """One convolution of stride 1 and what follows it; see `Convolution`."""
    m = tl.program_id(0) * M + tl.arange(0, M)
    place = tl.minimum(m, total - 1)
    left = (place % wide) * GW
    top = (place // wide % tall) * GH
    n = place // wide // tall
    begin = ((n * rows + top) * cols + left).to(tl.int64) * D
    k, j = tl.arange(0, K), tl.arange(0, N)
    values = source + begin[:, None] + k[None, :]
    taps = filters + k[:, None] * N + j[None, :]
    sums = tl.zeros((M, N), dtype=tl.float32)
    for i in tl.range(0, ROWS * (RUN // K), num_stages=STAGES):
        row, part = i // (RUN // K), i % (RUN // K)
        a = tl.load(values + (row * cols * D + part * K))
        b = tl.load(taps + i * (K * N))
        sums = tl.dot(a, b, sums, input_precision=PRECISION)

    c = j % P
    y = top[:, None] + (j // P // GW)[None, :]
    x = left[:, None] + (j // P % GW)[None, :]
    fits = (m < total)[:, None] & (j < GH * GW * P)[None, :] & (y < H) & (x < W)
    if KIND == "relu":
        sums = tl.maximum(sums + tl.load(bias + c, mask=c < FILTERS, other=0.0)[None, :], 0.0)
    elif KIND == "pattern":
        sums += tl.load(bias + c, mask=c < FILTERS, other=0.0)[None, :]
        sums = tl.where(sums > 0, 1.0, 0.0)
    elif KIND == "ones":
        sums = tl.where((c < FILTERS)[None, :] & fits, 1.0, 0.0)
    elif KIND == "gated":
        at = ((n * gate_rows)[:, None] + y + gate_lead) * gate_cols + x + gate_lead
        on = tl.load(gate + at.to(tl.int64) * P + c[None, :], mask=fits, other=0.0)
        sums = tl.where(on > 0, sums, 0.0)
    kept = sums.to(out.dtype.element_ty)
    at = ((n * out_rows)[:, None] + y + lead) * out_cols + x + lead
    spot = out + at.to(tl.int64) * P + c[None, :]
    tl.store(spot, kept, mask=fits)
    if WRAP:
        high = tl.where(y < after, H, -H)
        across = tl.where(x < after, W, -W)
        above = fits & ((y < after) | (y >= H - lead))
        beside = fits & ((x < after) | (x >= W - lead))
        tl.store(spot + high.to(tl.int64) * out_cols * P, kept, mask=above)
        tl.store(spot + across * P, kept, mask=beside)
        corner = high.to(tl.int64) * out_cols + across
        tl.store(spot + corner * P, kept, mask=above & beside)


@triton.jit
def _normals(key, place, chain, band, group):
    """Four normal numbers for every place."""
    zero = place * 0
    a, b, c, d = tl.philox(key, place, zero + chain, zero + band, zero + group)
    p, q = tl.uint_to_uniform_float(a), tl.uint_to_uniform_float(b)
    r, s = tl.uint_to_uniform_float(c), tl.uint_to_uniform_float(d)
    z0, z1 = tl.pair_uniform_to_normal(p, q)
    z2, z3 = tl.pair_uniform_to_normal(r, s)
    return z0, z1, z2, z3


@triton.jit(do_not_specialize=["step"])
def _move(
    images,
    basis,
    centre,
    saved,
    chains,
    keys,
    scales,
    shifts,
    step,
    tall,
    wide,
    H,
    W,
    keep,
    pull,
    eta,
    C: tl.constexpr,
    D: tl.constexpr,
    S: tl.constexpr,
    BAND: tl.constexpr,
    MOVE: tl.constexpr,
    CENTRE: tl.constexpr,
    SHIFT: tl.constexpr,
    SAVE: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Images <- keep * images + pull * basis + eta * centre + scale * noise; basis to ``saved``."""
    x = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    y, row = tl.program_id(1), tl.program_id(2)
    n = row.to(tl.int64)
    inside = x < W
    v, u = y, x
    if SHIFT:
        v = _around(y + tl.load(shifts + 2 * step), H)
        u = _around(x + tl.load(shifts + 2 * step + 1), W)
    corner = ((n * tall + v // S) * wide + u // S) * D + (v % S) * S + u % S
    at = ((n * H + y) * W + x) * C
    for c in tl.static_range(C):
        b = tl.load(basis + corner + c * S * S, mask=inside, other=0.0).to(tl.float32)
        if SAVE:
            tl.store(saved + at + c, b, mask=inside)
        if MOVE:
            value = tl.load(images + at + c, mask=inside, other=0.0) * keep + b * pull
            if CENTRE:
                value += tl.load(centre + at + c, mask=inside, other=0.0) * eta
            if c % 4 == 0:
                z0, z1, z2, z3 = _normals(
                    tl.load(keys + step),
                    (y % BAND) * W + x,
                    tl.load(chains + row),
                    y // BAND,
                    c // 4,
                )
                scale = tl.load(scales + step)
            if c % 4 == 0:
                value += z0 * scale
            elif c % 4 == 1:
                value += z1 * scale
            elif c % 4 == 2:
                value += z2 * scale
            else:
                value += z3 * scale
            tl.store(images + at + c, value, mask=inside)


@triton.jit(do_not_specialize=["key", "first_row"])
def _fill(
    out,
    chains,
    key,
    first_row,
    W,
    across_n,
    across_c,
    across_y,
    across_x,
    C: tl.constexpr,
    BAND: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Normal numbers into a tensor of any strides; the same that `_move` draws."""
    x = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    row = tl.program_id(2)
    y = tl.program_id(1) + first_row
    inside = x < W
    chain = tl.load(chains + row)
    at = row.to(tl.int64) * across_n + (y - first_row).to(tl.int64) * across_y + x * across_x
    for group in tl.static_range((C + 3) // 4):
        z0, z1, z2, z3 = _normals(key, (y % BAND) * W + x, chain, y // BAND, group)
        c = 4 * group
        tl.store(out + at + c * across_c, z0, mask=inside)
        if c + 1 < C:
            tl.store(out + at + (c + 1) * across_c, z1, mask=inside)
        if c + 2 < C:
            tl.store(out + at + (c + 2) * across_c, z2, mask=inside)
        if c + 3 < C:
            tl.store(out + at + (c + 3) * across_c, z3, mask=inside)


class Margins(NamedTuple):
    """A map's place in memory: (N, rows, cols, D) holds it from (lead, lead) on."""

    values: Tensor
    lead: int
    after: int
    wrap: bool  # the far sides of the map are repeated in the margins; else they hold zeros


def into_blocks(
    images: Tensor, out: Margins, stride: int, shifts: Tensor | None = None, step: int = 0
) -> None:
    """Write images in blocks of ``stride`` px, with margins, into what a convolution reads.

    Args:
        images: (N, H, W, C), float32.
        out: channel c stride^2 + dy stride + dx of a block is pixel (dy, dx) of colour c.
        stride: px of a block's side.
        shifts: int32 (steps, 2), of which row ``step`` rolls the torus (dy, dx).
        step: see ``shifts``.
    """
    n, height, width, channels = images.shape
    _, rows, cols, deep = out.values.shape
    wide = triton.next_power_of_2(deep)
    places = max(1, _VALUES // wide)
    _into_blocks[(triton.cdiv(rows * cols, places), n)](
        images,
        out.values,
        images if shifts is None else shifts,
        step,
        height,
        width,
        rows,
        cols,
        out.lead,
        C=channels,
        D=deep,
        S=stride,
        WRAP=out.wrap,
        SHIFT=shifts is not None,
        WIDE=wide,
        PLACES=places,
    )


Kind = Literal["relu", "pattern", "ones", "gated", "plain"]
"""What follows a convolution: bias and ReLU; 1 where a unit is on; 1 everywhere; what comes from
above where the unit is on, else 0; nothing."""


class Convolution:
    """Filters and the memory that they read."""

    def __init__(
        self,
        batch: int,
        channels: int,
        filters: int,
        taps: int,
        size: tuple[int, int],
        like: Tensor,
        lead: int = 0,
        wrap: bool = False,
    ) -> None:
        """``size`` (H, W) is the result's; ``like`` has the type and the device."""
        self.size, self.batch = size, batch
        self.pitch, deep = filled(filters), filled(channels)
        self._shape = filters, channels, taps
        self._group = gh, gw = grouping(self.pitch)
        self._tiles = tuple(-(-n // g) for n, g in zip(size, self._group, strict=True))
        rows, cols = self._tiles[0] * gh + taps - 1, self._tiles[1] * gw + taps - 1
        run = (taps + gw - 1) * deep
        self.tile = tile(run, triton.next_power_of_2(max(16, gh * gw * self.pitch)), like.dtype)
        self._run = -(-run // self.tile.k) * self.tile.k
        # Three products of the matrix units' format stand for one of float32.
        self._precision = "tf32" if torch.backends.cudnn.allow_tf32 else "tf32x3"
        memory = like.new_zeros(batch * rows * cols * deep + self._run)  # read past the last row
        values = memory[: batch * rows * cols * deep].view(batch, rows, cols, deep)
        self.input = Margins(values, lead, taps - 1 - lead, wrap)
        self._filters = like.new_zeros(taps + gh - 1, self._run, self.tile.n)
        self._places = self._filters[:, :run, : gh * gw * self.pitch].unflatten(1, (-1, deep))
        self._places = self._places.unflatten(3, (gh * gw, -1))

    def load(self, filters: Tensor) -> None:
        """Take filters (K, C, taps, taps), once for every place of a group."""
        k, c, taps = self._shape
        turned = filters.permute(2, 3, 1, 0)
        for place in range(self._group[0] * self._group[1]):
            dy, dx = divmod(place, self._group[1])
            self._places[dy : dy + taps, dx : dx + taps, :c, place, :k].copy_(turned)

    def result(self) -> Margins:
        """Memory for a result that no convolution reads."""
        values = self._filters.new_empty(self.batch, *self.size, self.pitch)
        return Margins(values, 0, 0, False)

    def __call__(
        self, kind: Kind, out: Margins, bias: Tensor | None = None, gate: Margins | None = None
    ) -> None:
        """Convolve ``input`` into ``out``, of this convolution's pitch.

        Args:
            kind: what follows.
            out: where it goes, margins included.
            bias: (K,), float32, for kinds "relu" and "pattern".
            gate: maps of the units that gate, for kind "gated".
        """
        source, filters = self.input.values, self._filters
        gates = out if gate is None else gate
        total = self.batch * self._tiles[0] * self._tiles[1]
        _convolve[(triton.cdiv(total, self.tile.m),)](
            source,
            filters,
            filters if bias is None else bias,
            gates.values,
            out.values,
            total,
            *self._tiles,
            *source.shape[1:3],
            *gates.values.shape[1:3],
            gates.lead,
            *self.size,
            *out.values.shape[1:3],
            out.lead,
            out.after,
            D=source.shape[3],
            ROWS=filters.shape[0],
            RUN=self._run,
            GH=self._group[0],
            GW=self._group[1],
            P=self.pitch,
            FILTERS=self._shape[0],
            KIND=kind,
            WRAP=out.wrap,
            PRECISION=self._precision,
            M=self.tile.m,
            N=self.tile.n,
            K=self.tile.k,
            STAGES=self.tile.stages,
            num_warps=self.tile.warps,
        )


class Tile(NamedTuple):
    """How a convolution is cut: places, columns and depth of a tile, and how it is worked on."""

    m: int
    n: int
    k: int
    warps: int
    stages: int


def filled(channels: int) -> int:
    """Channels in memory: multiples of 8, which the matrix units want."""
    return -(-channels // 8) * 8


def grouping(pitch: int) -> tuple[int, int]:
    """Rows and columns of places that a convolution of ``pitch`` channels computes together."""
    if pitch <= 32:
        return 2, 2
    return (1, 2) if pitch <= 64 else (1, 1)


def tile(run: int, columns: int, dtype: torch.dtype) -> Tile:
    """The tile for rows of ``run`` values and ``columns`` results."""
    wide = 64 if dtype == torch.bfloat16 else 32
    depths = [k for k in (wide, wide // 2, wide // 4) if -(-run // k) * k <= 1.25 * run]
    depth = depths[0] if depths else wide // 4
    return Tile(128, columns, depth, 8, 3)


class Tables(NamedTuple):
    """What the steps of a run differ in, on the device, and how noise is keyed."""

    chains: Tensor  # int32 (N,): numbers of the chains
    keys: Tensor  # int64 (steps,): of the noise
    scales: Tensor  # float32 (steps,): of the noise, grey levels
    shifts: Tensor  # int32 (steps, 2): of the torus, px
    band: int  # rows of noise that share a key


class Pull(NamedTuple):
    """One step's constants: ``keep`` I + ``pull`` B + ``eta`` c + scale Z."""

    keep: float
    pull: float
    eta: float


def unfold(basis: Tensor, out: Tensor, stride: int) -> None:
    """Write B in blocks (N, H/s, W/s, D) as a map (N, H, W, C) of float32."""
    _launch_move(None, basis, None, out, None, 0, Pull(0, 0, 0), stride, shift=False)


def move(
    images: Tensor,
    basis: Tensor,
    centre: Tensor | None,
    saved: Tensor | None,
    tables: Tables,
    step: int,
    pull: Pull,
    stride: int,
    *,
    shift: bool,
) -> None:
    """One Langevin step of ``images`` (N, H, W, C), float32, in place.

    Args:
        images: the chains.
        basis: B (N, H/s, W/s, D) in blocks of ``stride``, of the images rolled by the step's shift.
        centre: of the reference, like the images.
        saved: filled with B, like the images.
        tables: of the run.
        step: the row of the tables.
        pull: the step's constants.
        stride: of the first layer.
        shift: whether the run is dithered.
    """
    _launch_move(images, basis, centre, saved, tables, step, pull, stride, shift=shift)


def _launch_move(
    images: Tensor | None,
    basis: Tensor,
    centre: Tensor | None,
    saved: Tensor | None,
    tables: Tables | None,
    step: int,
    pull: Pull,
    stride: int,
    *,
    shift: bool,
) -> None:
    shown = saved if images is None else images
    assert shown is not None
    n, height, width, channels = shown.shape
    chains, keys, scales, shifts, band = tables or (*(shown,) * 4, 1)
    _move[(triton.cdiv(width, _PIXELS), height, n)](
        shown,
        basis,
        shown if centre is None else centre,
        shown if saved is None else saved,
        chains,
        keys,
        scales,
        shifts,
        step,
        *basis.shape[1:3],
        height,
        width,
        float(pull.keep),
        float(pull.pull),
        float(pull.eta),
        C=channels,
        D=basis.shape[3],
        S=stride,
        BAND=band,
        MOVE=images is not None,
        CENTRE=centre is not None,
        SHIFT=shift,
        SAVE=saved is not None,
        PIXELS=_PIXELS,
    )


def fill_normal_(out: Tensor, chains: Tensor, key: int, first_row: int, band: int) -> Tensor:
    """Fill ``out`` (N, C, H, W), of any strides, with the noise that `move` draws.

    Args:
        out: float32; returned.
        chains: int32 (N,).
        key: of the purpose and the step.
        first_row: row of the canvas that ``out`` begins with.
        band: rows that share a key.
    """
    n, channels, height, width = out.shape
    _fill[(triton.cdiv(width, _PIXELS), height, n)](
        out,
        chains,
        key,
        first_row,
        width,
        *out.stride(),
        C=channels,
        BAND=band,
        PIXELS=_PIXELS,
    )
    return out
