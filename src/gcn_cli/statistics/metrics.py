"""How well synthesized pictures show an exemplar's texture, without any pre-trained network.

Every figure compares statistics, not pixels, so samples may have another size than the exemplar.
Except for `spectrum_db`, `coherence` and `diversity`, a figure is a distance divided by the same
distance between the exemplar's own halves (left and right, top and bottom, averaged): 0 is the
exemplar itself, about 1 is as different as one half is from the other, which is what a perfect
sampler of a patchy texture can hope for. Fresh draws of a known random process (42 pairs of 128 px
pictures) averaged 0.6 to 0.9, single draws 0.3 to 2.3, and 0.04 to 3.4 in `colour`: judge by
several samples, and do not read much into one. On an uneven exemplar the yardstick is long and
forgives much. All random filters and directions come from fixed seeds: the same input gives the
same figures. Unknown pixels are NaN; a figure is of what looks at none of them, and the spectrum of
the largest square that is known.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.statistics.known import known_share, largest_square, told, whole_windows

Distance = Callable[[Tensor, Tensor], Tensor]
"""From two pictures `(C, H, W)` to one distance per pyramid level or kind, `(K,)`."""

MIN_SIDE = 32
_PATCH = 7  # pixels, the side of a patch
_POSITIONS = 12_000  # patches drawn per picture and level
_QUANTILES = 256  # points at which two distributions are compared
_COHERENCE_SIDE = 512  # pixels of a picture that are looked up for copying, at most
# With four taps so much of the finest grain comes through that a small fault in it counts at every
# coarser scale again; for copies four do, and the rim of a copied piece spoils less.
_SCALE_TAPS = (1, 4, 6, 4, 1)
_COPY_TAPS = (1, 3, 3, 1)
_BAND_VALUES = 2**24  # of the largest intermediates: memory does not grow with the pictures
_PIXELS = 2**20  # whose colours are compared, at most
_FILTERS = (3, 5, 7, 11)  # px, sides of the random filters
_FEWEST = 64  # places of the largest filter that a half must have, at every level that counts


@dataclasses.dataclass(frozen=True)
class TextureScores:
    """Figures averaged over the samples; lower is better unless said otherwise.

    Attributes:
        struct: shapes: how patches correlate with patches of the exemplar, and their contrast, at
            several scales; relative to the halves. Sees what a random-phase picture lacks.
        gram: second moments of random ReLU features at several scales; relative to the halves.
        spectrum_db: mean difference of the power spectra over rings and sectors, in decibels.
        colour: distribution of single pixels; relative to the halves.
        swd: sliced Wasserstein distance of patches at several scales; relative to the halves.
        coherence: share of neighbouring patches copied together: their best matches in the
            exemplar lie side by side as well. Near 1 for pasted pieces; compare with the floor.
        coherence_floor: the same when one half of the exemplar is looked up in the other half,
            which is what a sampler that does not copy shows.
        diversity: RMS difference between samples over sqrt(2) times the exemplar's standard
            deviation: about 1 for independent samples, 0 for equal ones (higher is better); None
            for a single sample or samples of an exemplar without contrast.
    """

    struct: float
    gram: float
    spectrum_db: float
    colour: float
    swd: float
    coherence: float
    coherence_floor: float
    diversity: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Returns the figures by name, ready for JSON."""
        return dataclasses.asdict(self)


@torch.no_grad()
def evaluate_texture(exemplar: Tensor, samples: Tensor) -> TextureScores:
    """Compares samples with the exemplar whose texture they should show.

    Args:
        exemplar: grey levels 0..255, `(C, H, W)`, C = 1 or 3; NaN where nothing is known.
        samples: grey levels, `(N, C, H', W')`, with the exemplar's number of channels.

    Returns:
        The figures, averaged over the N samples.

    Raises:
        ImageError: channels differ, a side is shorter than 32 pixels, values are infinite, or too
            little is known.
    """
    _check(exemplar, samples)
    exemplar = exemplar.detach().cpu().float()
    samples = samples.detach().cpu().float().clamp(0, 255)
    levels = _level_count(min(*exemplar.shape[1:], *samples.shape[2:]))
    for picture, name in [(exemplar, "the exemplar"), *((one, "a sample") for one in samples)]:
        levels = min(levels, _known_levels(picture, name, levels))
    relative = {
        "struct": _struct_distance(exemplar, levels),
        "gram": _gram_distance(exemplar, levels),
        "colour": _colour_distance(exemplar.shape[0]),
        "swd": _patch_distance(exemplar.shape[0], levels),
    }
    scores = {name: _relative(distance, exemplar, samples) for name, distance in relative.items()}
    return TextureScores(
        **scores,
        spectrum_db=_mean([spectrum_distance(exemplar, sample) for sample in samples]),
        coherence=_mean([coherence(sample, exemplar) for sample in samples]),
        coherence_floor=_coherence_floor(exemplar),
        diversity=_diversity(exemplar, samples),
    )


def _check(exemplar: Tensor, samples: Tensor) -> None:
    if exemplar.ndim != 3 or samples.ndim != 4 or len(samples) == 0:
        raise ImageError("texture metrics need an exemplar (C, H, W) and samples (N, C, H, W)")
    if exemplar.shape[0] not in (1, 3) or exemplar.shape[0] != samples.shape[1]:
        raise ImageError(
            f"The exemplar has {exemplar.shape[0]} channels and the samples {samples.shape[1]}; "
            "both need 1 or both 3."
        )
    if min(*exemplar.shape[1:], *samples.shape[2:]) < MIN_SIDE:
        raise ImageError(f"texture metrics need sides of at least {MIN_SIDE} pixels")
    if torch.isinf(exemplar).any() or torch.isinf(samples).any():
        raise ImageError("the pictures to compare hold values that are not finite numbers")


def _known_levels(image: Tensor, name: str, levels: int) -> int:
    """At how many of so many levels enough is known of a picture's halves.

    Raises:
        ImageError: at none, or no square is known that a spectrum could be of.
    """
    if not bool(image.isnan().any()):
        return levels
    count = levels
    for half in itertools.chain(*_halves(image)):
        enough = [
            int(whole_windows(picture, _FILTERS[-1]).sum()) >= _FEWEST
            for picture in _pyramid(half, levels)
        ]
        count = min(count, (*enough, False).index(False))
    side = largest_square(image).shape[-1]
    if not count or side < MIN_SIDE:
        raise ImageError(
            f"too little of {name} is known to be compared: {known_share(image):.1%} of it, its "
            f"largest square {side} px; {MIN_SIDE} px and windows in each half are needed"
        )
    return count


# ----------------------------------------------------------------- the exemplar's own halves


def _halves(image: Tensor) -> list[tuple[Tensor, Tensor]]:
    H, W = image.shape[1] // 2, image.shape[2] // 2
    return [(image[:, :, :W], image[:, :, W:]), (image[:, :H], image[:, H:])]


def _relative(distance: Distance, exemplar: Tensor, samples: Tensor) -> float:
    floor = torch.stack([distance(a, b) for a, b in _halves(exemplar)]).mean(0)
    far = torch.stack([distance(exemplar, sample) for sample in samples])
    return float((far / floor.clamp_min(1e-4)).mean())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


# ------------------------------------------------------------------- scales, patches, quantiles


def _level_count(side: int) -> int:
    """As many halvings as leave half a picture 16 pixels, up to four levels."""
    return min(4, 1 + int(math.log2(side / 32)))


def _pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """The picture and its halvings."""
    pictures = [image]
    for _ in range(levels - 1):
        pictures.append(_low_pass(pictures[-1], stride=2, taps=_SCALE_TAPS))
    return pictures


def _low_pass(image: Tensor, stride: int, taps: tuple[int, ...]) -> Tensor:
    """Binomial low-pass, every `stride`-th pixel kept."""
    row = torch.tensor(taps, dtype=torch.float32)
    size = len(taps)
    kernel = torch.outer(row, row).div(row.sum() ** 2).expand(image.shape[0], 1, size, size)
    before, after = (size - 1) // 2, size // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")
    return F.conv2d(padded, kernel, stride=stride, groups=image.shape[0])[0]


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _patches(image: Tensor, count: int, seed: int) -> Tensor:
    """Patches at random positions without repetition, `(min(count, all), C * 7 * 7)`."""
    windows = image.unfold(1, _PATCH, 1).unfold(2, _PATCH, 1)  # (C, H-6, W-6, 7, 7)
    columns = windows.shape[2]
    places = whole_windows(image, _PATCH).flatten().nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    chosen = places[torch.randperm(len(places), generator=generator)[:count]]
    drawn = windows[:, chosen // columns, chosen % columns]
    return drawn.transpose(0, 1).flatten(1)


def _mean_free(patches: Tensor, channels: int) -> Tensor:
    """Patches less their own mean colour, so that only shape and contrast remain."""
    by_channel = patches.view(len(patches), channels, -1)
    return (by_channel - by_channel.mean(2, keepdim=True)).flatten(1)


def _quantiles(values: Tensor) -> Tensor:
    """Each row's distribution `(K, P)` at evenly spaced quantiles, `(K, Q)`, interpolated."""
    ordered = values.sort(dim=1).values
    last = ordered.shape[1] - 1
    place = (torch.arange(_QUANTILES) + 0.5) / _QUANTILES * last
    below = place.floor().long()
    above = (below + 1).clamp_max(last)
    return torch.lerp(ordered[:, below], ordered[:, above], place - below)


def _wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """1-D Wasserstein-1 distance of two samples, averaged over rows; `(K, P)`, `(K, P')` -> ()."""
    return (_quantiles(a) - _quantiles(b)).abs().mean()


# ------------------------------------------------------------------------ the relative figures


def _struct_distance(exemplar: Tensor, levels: int) -> Distance:
    """Distributions of correlation with 96 exemplar patches and of contrast, at every level."""
    C = exemplar.shape[0]
    references = []
    for picture in _pyramid(exemplar, levels):
        patches = _mean_free(_patches(picture, 96, seed=1), C)
        # Nearly flat patches have no shape: their direction is noise, and is faded out.
        fade = 0.1 * patches.square().sum(1).mean().sqrt() + 1e-3
        references.append((F.normalize(patches, dim=1), fade))

    def describe(image: Tensor) -> list[Tensor]:
        described = []
        for picture, (templates, fade) in zip(_pyramid(image, levels), references, strict=True):
            patches = _mean_free(_patches(picture, _POSITIONS, seed=2), C)
            contrast = patches.norm(dim=1, keepdim=True)
            described += [templates @ (patches / (contrast + fade)).T, contrast.T]
        return described

    def distance(a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(describe(a), describe(b), strict=True)
        return torch.stack([_wasserstein(x, y) for x, y in pairs])

    return distance


def _patch_distance(channels: int, levels: int) -> Distance:
    """Sliced Wasserstein distance of patches along 128 random directions, at every level."""
    directions = F.normalize(_random(128, channels * _PATCH**2, seed=3), dim=1)

    def describe(image: Tensor) -> list[Tensor]:
        pictures = _pyramid(image, levels)
        return [directions @ _patches(picture, _POSITIONS, seed=4).T for picture in pictures]

    def distance(a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(describe(a), describe(b), strict=True)
        return torch.stack([_wasserstein(x, y) for x, y in pairs])

    return distance


def _colour_distance(channels: int) -> Distance:
    """Distribution of pixels along the channels and, for colour, 32 random directions."""
    axes = torch.eye(channels)
    if channels > 1:
        axes = torch.cat([axes, F.normalize(_random(32, channels, seed=5), dim=1)])

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return _wasserstein(axes @ _pixels(a), axes @ _pixels(b))[None]

    return distance


def _pixels(image: Tensor) -> Tensor:
    """Colours `(C, P)`; of a large picture evenly spaced ones."""
    flat = told(image.flatten(1))
    return flat[:, :: -(-flat.shape[1] // _PIXELS)]


def _gram_distance(exemplar: Tensor, levels: int) -> Distance:
    """Relative Frobenius distance of Gram matrices of 64 random ReLU filters, at every level."""
    bank = [_random(16, exemplar.shape[0], k, k, seed=6 + k) for k in _FILTERS]
    bank = [w - w.mean((2, 3), keepdim=True) for w in bank]  # flat colour is for `colour`
    pictures = _pyramid(exemplar, levels)
    spreads = [_spread(picture, bank) + 1e-3 for picture in pictures]

    def grams(image: Tensor) -> list[Tensor]:
        found = []
        for picture, spread in zip(_pyramid(image, levels), spreads, strict=True):
            gram, count = torch.zeros(()), 0
            for responses in _responses(picture, bank):
                features = (responses / spread).relu()
                gram, count = gram + features @ features.T, count + features.shape[1]
            found.append(gram / count)
        return found

    def distance(a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(grams(a), grams(b), strict=True)
        return torch.stack([(x - y).norm() / x.norm().clamp_min(1e-6) for x, y in pairs])

    return distance


def _responses(picture: Tensor, bank: list[Tensor]) -> Iterator[Tensor]:
    """Filter maps where every filter of the bank fits, `(filters, positions)`, in bands of rows."""
    reach = bank[-1].shape[-1] - 1  # of the largest filter
    rows, columns = (n - reach for n in picture.shape[1:])
    band = max(1, _BAND_VALUES // (columns * sum(len(w) for w in bank)))
    for top in range(0, rows, band):
        block = picture[None, :, top : min(rows, top + band) + reach]
        maps = [F.conv2d(block, w)[0] for w in bank]
        yield told(torch.cat([_centre(m, *maps[-1].shape[1:]).flatten(1) for m in maps]))


def _spread(picture: Tensor, bank: list[Tensor]) -> Tensor:
    """Standard deviation of every filter's response, `(filters, 1)`."""
    total = square = torch.zeros((), dtype=torch.float64)
    count = 0
    for responses in _responses(picture, bank):
        exact = responses.double()
        total, square = total + exact.sum(1), square + exact.square().sum(1)
        count += responses.shape[1]
    variance = (square - total.square() / count) / max(1, count - 1)
    return variance.clamp_min(0).sqrt().float()[:, None]


def _centre(maps: Tensor, H: int, W: int) -> Tensor:
    top, left = (maps.shape[1] - H) // 2, (maps.shape[2] - W) // 2
    return maps[:, top : top + H, left : left + W]


# ------------------------------------------------------------------------------- the spectrum


def spectrum_distance(a: Tensor, b: Tensor) -> float:
    """Compares power spectra over 16 rings, and over 12 sectors of three wide rings.

    Args:
        a: picture `(C, H, W)`, grey levels; colour is reduced to luminance.
        b: picture `(C, H', W')`.

    Returns:
        Mean absolute difference in decibels over the bins that both pictures fill.
    """
    difference = (_spectrum_bins(a) - _spectrum_bins(b)).abs()
    return float(difference[torch.isfinite(difference)].mean())


def _spectrum_bins(image: Tensor) -> Tensor:
    """Mean power per bin in dB, `(16 + 36,)`; NaN where no frequency falls into the bin."""
    luminance = _luminance(largest_square(image))
    H, W = luminance.shape
    window = torch.outer(torch.hann_window(H), torch.hann_window(W))
    centred = luminance - (luminance * window).sum() / window.sum()
    power = torch.fft.fft2(centred * window).abs().square() / window.square().sum()
    y, x = torch.meshgrid(torch.fft.fftfreq(H), torch.fft.fftfreq(W), indexing="ij")
    radius = torch.hypot(x, y)
    radius[radius < 2 / min(H, W)] = 1  # the window smears these; they leave through the last bin
    ring = torch.bucketize(radius, torch.logspace(math.log2(1 / 64), -1, 17, base=2.0)) - 1
    sector = (torch.atan2(y, x) % math.pi / math.pi * 12).long().clamp_max(11)
    band = torch.bucketize(radius, torch.tensor([1 / 64, 1 / 16, 1 / 6, 1 / 2])) - 1
    rings = _bin_mean(power, ring, 16)
    sectors = _bin_mean(power, torch.where((band >= 0) & (band < 3), band * 12 + sector, -1), 36)
    rounding = 1 / 12  # power density of rounding to whole grey levels
    return 10 * torch.log10(torch.cat([rings, sectors]) + rounding)


def _bin_mean(values: Tensor, index: Tensor, bins: int) -> Tensor:
    inside = (index >= 0) & (index < bins)
    total = torch.bincount(index[inside], weights=values[inside], minlength=bins)
    return (total / torch.bincount(index[inside], minlength=bins)).float()  # 0 / 0 = NaN


def _luminance(image: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114]) if image.shape[0] == 3 else torch.ones(1)
    return torch.einsum("c,chw->hw", weights, image)


# --------------------------------------------------------------------------------- copying


def coherence(sample: Tensor, exemplar: Tensor) -> float:
    """Measures verbatim copying: do neighbours come from neighbours?

    Patches of 16 pixels on a grid of 8 pixels are looked up in the exemplar, at half resolution,
    which is enough to find a copied piece and is little moved by noise.

    Args:
        sample: picture `(C, H, W)`, grey levels.
        exemplar: picture `(C, H', W')`.

    Returns:
        The share, 0 to 1, of horizontal and vertical neighbours whose best matches have the very
        same displacement; NaN where no two neighbours are known. Of a large sample the middle 512
        pixels are looked at.
    """
    side, step = 8, 4  # in pixels of half resolution
    halved = _low_pass(_middle(sample, _COHERENCE_SIDE), stride=2, taps=_COPY_TAPS)
    queries = F.unfold(halved[None], side, stride=step)[0].T
    rows, columns = ((n - side) // step + 1 for n in halved.shape[1:])
    where = _nearest(queries, _low_pass(exemplar, stride=1, taps=_COPY_TAPS), side).view(
        rows, columns, 2
    )
    known = ~queries.sum(1).isnan().view(rows, columns)
    down = (where[1:] - where[:-1] == torch.tensor([2 * step, 0])).all(-1)
    right = (where[:, 1:] - where[:, :-1] == torch.tensor([0, 2 * step])).all(-1)
    pairs = down[known[1:] & known[:-1]], right[known[:, 1:] & known[:, :-1]]
    return float(torch.cat(pairs).float().mean())


def _middle(image: Tensor, side: int) -> Tensor:
    """At most ``side`` pixels each way of a picture (C, H, W)."""
    top, left = (max(0, n - side) // 2 for n in image.shape[1:])
    return image[:, top : top + side, left : left + side]


def _nearest(queries: Tensor, smooth: Tensor, side: int) -> Tensor:
    """Finds for each query the closest patch among all even and odd positions of a picture.

    Args:
        queries: `(P, C * side * side)`, of half resolution.
        smooth: low-passed picture `(C, H, W)`; every second of its pixels make a patch.
        side: patch side in pixels of half resolution.

    Returns:
        Row and column of each closest patch in pixels of full resolution, `(P, 2)`.
    """
    closeness = torch.full((len(queries),), -math.inf)
    where = torch.zeros(len(queries), 2, dtype=torch.long)
    for y, x in itertools.product((0, 1), (0, 1)):
        phase = smooth[:, y::2, x::2]
        columns = phase.shape[2] - side + 1
        band = max(1, _BAND_VALUES // (columns * max(len(queries), queries.shape[1])))
        for top in range(0, phase.shape[1] - side + 1, band):
            patches = F.unfold(phase[None, :, top : top + band + side - 1], side)[0]
            # The largest of q.p - |p|^2 / 2 is the smallest of |q - p|^2.
            likeness = queries @ patches - patches.square().sum(0) / 2
            close, index = likeness.masked_fill_(likeness.isnan(), -math.inf).max(1)
            found = torch.stack([(index // columns + top) * 2 + y, index % columns * 2 + x], 1)
            where = torch.where((close > closeness)[:, None], found, where)
            closeness = torch.maximum(close, closeness)
    return where


def _coherence_floor(exemplar: Tensor) -> float:
    part = _middle(exemplar, _COHERENCE_SIDE)
    pairs = [(x, y) for a, b in _halves(part) for x, y in ((a, b), (b, a))]
    return _mean([coherence(x, y) for x, y in pairs])


# -------------------------------------------------------------------------------- diversity


def _diversity(exemplar: Tensor, samples: Tensor) -> float | None:
    centred = exemplar - exemplar.nanmean((1, 2), keepdim=True)
    std = float(centred.square().nanmean().sqrt())
    if len(samples) < 2 or std < 1e-3:
        return None
    pairs = itertools.combinations(samples, 2)
    far = [float((a - b).square().nanmean().sqrt()) for a, b in pairs]
    return _mean(far) / (math.sqrt(2) * std)
