"""A material under one light."""

import torch

from gcn_cli.images.lit import lit_plane, lit_sphere


def _flat(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    normal = torch.tensor([127.5, 127.5, 255.0])[:, None, None].expand(3, 8, 8)
    return {"color": torch.full((3, 8, 8), 128.0), "normal": normal, **changes}


def _leaning(x: float, y: float) -> torch.Tensor:
    z = (1 - x * x - y * y) ** 0.5
    return ((torch.tensor([x, y, z]) + 1) * 127.5)[:, None, None].expand(3, 8, 8)


def test_what_leans_towards_the_lamp_is_brighter():
    flat, towards, away = (
        float(lit_plane(_flat(normal=_leaning(*slope))).mean())
        for slope in ((0.0, 0.0), (-0.5, 0.5), (0.5, -0.5))
    )
    assert away < flat < towards


def test_normals_of_direct_x_are_turned_over():
    up, down = _flat(normal=_leaning(0.0, 0.5)), _flat(normal=_leaning(0.0, -0.5))
    assert torch.allclose(lit_plane(up), lit_plane(down, y_down=True), atol=1e-3)
    assert float(lit_plane(up).mean()) > float(lit_plane(down).mean())


def test_slopes_of_a_height_stand_in_for_normals():
    ramp = torch.linspace(0, 255, 8).expand(1, 8, 8)  # rises to the right: leans to the left
    lit = lit_plane({"color": torch.full((3, 8, 8), 128.0), "height": ramp})
    assert float(lit[:, 4, 4].mean()) > float(lit_plane(_flat())[:, 4, 4].mean())


def test_a_shut_in_place_is_darker_and_a_smooth_one_shines():
    plain = lit_plane(_flat())
    assert float(lit_plane(_flat(ao=torch.zeros(1, 8, 8))).mean()) < float(plain.mean())
    towards = _leaning(-0.235, 0.287)  # half way between lamp and viewer
    rough = _flat(normal=towards, roughness=torch.full((1, 8, 8), 200.0))
    smooth = _flat(normal=towards, roughness=torch.full((1, 8, 8), 40.0))
    assert float(lit_plane(smooth).mean()) > float(lit_plane(rough).mean())


def test_packed_maps_say_the_same_as_their_parts():
    parts = {"ao": 100.0, "roughness": 60.0, "metalness": 200.0}
    alone = {name: torch.full((1, 8, 8), level) for name, level in parts.items()}
    packed = torch.cat([alone["ao"], alone["roughness"], alone["metalness"]])
    assert torch.equal(lit_plane(_flat(**alone)), lit_plane(_flat(orm=packed)))


def test_a_sphere_lies_before_black():
    ball = lit_sphere(_flat(), 64)
    assert ball.shape == (3, 64, 64)
    assert ball[:, 0, 0].eq(0).all()
    assert float(ball[:, 20, 20].mean()) > float(ball[:, 44, 44].mean()) > 0
