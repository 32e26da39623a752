"""Which files are maps of one surface, by their names."""

from pathlib import Path

import pytest

from gcn_cli.errors import ImageError
from gcn_cli.images.materials import group_files, named_files, parse_name, points_down


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Bricks076_1K_Color.png", ("Bricks076", "color")),
        ("Bricks076_1K-JPG_NormalGL.jpg", ("Bricks076", "normal")),
        ("brick_wall_02_nor_gl_2k.png", ("brick_wall_02", "normal")),
        ("brick_wall_02_diff_1k.jpg", ("brick_wall_02", "color")),
        ("Rock-BaseColor.png", ("Rock", "color")),
        ("rock_base_color.png", ("rock", "color")),
        ("rock_ALBEDO.png", ("rock", "color")),
        ("rock col.png", ("rock", "color")),
        ("rock_Metallic.png", ("rock", "metalness")),
        ("rock_AmbientOcclusion.png", ("rock", "ao")),
        ("rock_ao_4k.png", ("rock", "ao")),
        ("rock_Displacement.png", ("rock", "height")),
        ("rock_arm_1k.png", ("rock", "arm")),
        ("rock_Gloss.png", ("rock", "gloss")),
        ("rock_opacity.png", ("rock", "opacity")),
        ("rock_emission.png", ("rock", "emission")),
        ("normal.png", ("", "normal")),
        ("abnormal.png", ("abnormal", "")),
        ("stones.png", ("stones", "")),
        ("tiles_512.png", ("tiles_512", "")),
        ("rough_wood.png", ("rough_wood", "")),
    ],
)
def test_a_file_tells_its_material_and_its_map(name, told):
    assert parse_name(Path(name)) == told


def test_maps_of_one_stem_are_one_material_whatever_the_case():
    files = [Path("a/Rock_1K_Roughness.png"), Path("a/rock_1k_color.png"), Path("a/sand.png")]
    rock, sand = group_files(files)
    assert (rock.name, list(rock.files)) == ("Rock", ["color", "roughness"])
    assert (sand.name, sand.is_material, sand.files) == ("sand", False, {"": files[2]})


def test_a_lone_map_is_a_picture():
    (one,) = group_files([Path("a/rock_color.png")])
    assert not one.is_material
    assert one.name == "rock_color"


def test_equal_names_in_two_folders_are_two_materials():
    files = [Path(f"{folder}/rock_{kind}.png") for folder in "ab" for kind in ("color", "ao")]
    assert [one.files["ao"].parent.name for one in group_files(files)] == ["a", "b"]


def test_maps_without_a_stem_are_named_by_their_folder(tmp_path):
    folder = tmp_path / "slate"
    (one,) = group_files([folder / "color.png", folder / "height.png"])
    assert one.name == "slate"


def test_of_two_conventions_of_normals_one_is_left_out():
    names = ["rock_Color.png", "rock_NormalDX.png", "rock_NormalGL.png"]
    (one,) = group_files([Path(name) for name in names])
    assert one.files["normal"].name == "rock_NormalGL.png"
    assert one.notes == ("rock_NormalDX.png left out: it says the same as rock_NormalGL.png",)


def test_two_files_for_one_map_are_refused():
    with pytest.raises(ImageError, match="two files for color: rock_col"):
        group_files([Path("rock_col.png"), Path("rock_diff.png"), Path("rock_ao.png")])


def test_a_set_that_lacks_a_map_of_its_neighbours_is_refused():
    whole = [Path(f"clay_{kind}.png") for kind in ("color", "normal", "ao")]
    with pytest.raises(ImageError, match="lacks normal, which others"):
        group_files([*whole, Path("rock_color.png"), Path("rock_ao.png")])


def test_maps_are_named_by_hand():
    one = named_files(["height=x/1.png", "Albedo=x/2.png"])
    assert one.files == {"color": Path("x/2.png"), "height": Path("x/1.png")}
    assert one.name == "1"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["shine=a.png"], "there is no map 'shine'; maps are color, normal"),
        (["color"], "map=file"),
        (["color=a.png", "albedo=b.png"], "two files for color"),
    ],
)
def test_what_is_named_wrongly_is_refused(texts, said):
    with pytest.raises(ImageError, match=said):
        named_files(texts)


def test_the_direction_of_y_is_told_by_the_name():
    assert [points_down(name) for name in ("a_NormalDX", "a_nor_dx", "a_NormalGL", "nodx_nor")] == [
        True,
        True,
        False,
        False,
    ]
