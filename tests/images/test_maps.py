"""Maps as channels of one image, and back."""

import pytest
import torch

from gcn_cli.errors import ImageError
from gcn_cli.images.maps import CONTRAST, Material, measure, side_by_side, unit_normals
from gcn_cli.images.materials import MAPS


def _noise(channels: int, deviation: float, middle: float, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return middle + deviation * torch.randn(channels, 16, 24, generator=draw)


def _pictures() -> dict[str, torch.Tensor]:
    return {
        "color": _noise(3, 30, 120, 1),
        "normal": unit_normals(_noise(2, 20, 127.5, 2)),
        "metalness": torch.full((1, 16, 24), 255.0),
        "height": _noise(1, 4, 90, 3),
    }


def _material(pictures: dict[str, torch.Tensor]) -> Material:
    return measure({name: (picture, f"x_{name}", "8") for name, picture in pictures.items()})


def test_what_is_encoded_is_decoded():
    pictures = _pictures()
    material = _material(pictures)
    back = material.decode(material.encode(pictures))
    assert list(back) == list(pictures)
    for name, picture in pictures.items():
        assert torch.allclose(back[name], picture, atol=1e-3), name


def test_every_map_has_the_same_contrast_however_faint_it_was():
    pictures = _pictures()
    material = _material(pictures)
    for name, piece in material.parts(material.encode(pictures)).items():
        if name != "metalness":
            spread = piece.var((1, 2), correction=0).mean().sqrt()
            assert spread == pytest.approx(CONTRAST, rel=1e-4), name


def test_a_constant_map_is_remembered_not_learned():
    material = _material(_pictures())
    assert material.channels == 3 + 2 + 1
    out = material.decode(torch.zeros(6, 5, 7))
    assert torch.equal(out["metalness"], torch.full((1, 5, 7), 255.0))


def test_channels_of_packed_data_are_balanced_one_by_one():
    packed = torch.cat([_noise(1, 2, 100, 4), _noise(1, 50, 100, 5), torch.zeros(1, 16, 24)])
    material = _material({"color": _noise(3, 30, 120), "orm": packed})
    spreads = material.encode({"color": _noise(3, 30, 120), "orm": packed})[3:].std((1, 2))
    assert len(spreads) == 2
    assert torch.allclose(spreads, torch.full((2,), CONTRAST), rtol=0.01)


def test_normals_are_of_unit_length_whatever_was_drawn():
    normal = unit_normals(_noise(2, 200, 127.5)) / 127.5 - 1
    assert torch.allclose(normal.norm(dim=0), torch.ones(16, 24), atol=1e-5)
    assert float(normal[2].min()) >= -1e-6


def test_a_slope_keeps_its_direction():
    flat = unit_normals(torch.full((2, 1, 1), 127.5)).flatten()
    right = unit_normals(torch.tensor([300.0, 127.5]).view(2, 1, 1)).flatten()
    assert flat.tolist() == [127.5, 127.5, 255.0]
    assert right.tolist() == [255.0, 127.5, 127.5]


def test_maps_that_differ_in_size_are_refused():
    with pytest.raises(ImageError, match="agree in size: color 24x16, height 12x8"):
        measure({"color": (_noise(3, 9, 99), "a", "8"), "height": (torch.ones(1, 8, 12), "b", "8")})


def test_a_normal_map_of_one_channel_is_refused():
    with pytest.raises(ImageError, match="a normal map has three channels, not 1"):
        measure({"normal": (_noise(1, 9, 99), "a", "8"), "height": (_noise(1, 9, 99), "b", "8")})


def test_constant_maps_alone_are_refused():
    flat = torch.full((1, 8, 8), 7.0)
    with pytest.raises(ImageError, match="every map is constant"):
        measure({"height": (flat, "a", "8"), "ao": (flat, "b", "8")})


def test_a_material_survives_being_packed():
    material = _material(_pictures())
    assert Material.unpack(material.pack()) == material


@pytest.mark.parametrize(
    "change",
    [
        {"name": "shine"},
        {"file": "../x"},
        {"gains": [float("nan")]},
        {"gains": [1.0, 1.0]},
        {"levels": [float("inf")]},
    ],
)
def test_a_foreign_map_is_refused(change):
    sound = {"name": "height", "file": "x_h", "depth": "8", "gains": [1.0], "levels": [0.0]}
    assert Material.unpack([sound]).channels == 1
    with pytest.raises(ValueError, match="do not fit together"):
        Material.unpack([{**sound, **change}])


def test_maps_are_shown_side_by_side():
    shown = side_by_side([torch.ones(3, 4, 5), torch.zeros(1, 4, 5)])
    assert shown.shape == (3, 4, 10)
    assert shown[..., :5].eq(1).all()
    assert shown[..., 5:].eq(0).all()


def test_every_name_of_a_map_may_be_packed():
    for name in MAPS:
        data = {"name": name, "file": name, "depth": "8", "gains": [1.0], "levels": [0.0]}
        assert Material.unpack([data]).maps[0].name == name
