"""The door to files: what other rooms call to find, read and write pictures.

A picture in memory is a float tensor `(C, H, W)` of grey levels, 0 (black) to 255 (white), with one
channel for greyscale and three (red, green, blue) for colour. Values outside 0..255 may occur
inside a chain; they are clamped only when a picture is written as integers.
"""

from gcn_cli.images.disk import atomic_write, atomic_write_bytes, atomic_write_text, remove_scratch
from gcn_cli.images.find import IMAGE_SUFFIXES, find_images, sort_out
from gcn_cli.images.picture import DEPTHS, ROLES, Crop, Depth, Picture, Role
from gcn_cli.images.read import load_image, read_picture
from gcn_cli.images.write import (
    FORMATS,
    check_folder,
    check_format,
    check_sides,
    fitting_depth,
    jpeg_bytes,
    png_bytes,
    save_picture,
    save_png,
    to_pillow,
    to_uint8,
    usual_suffix,
)

__all__ = [
    "DEPTHS",
    "FORMATS",
    "IMAGE_SUFFIXES",
    "ROLES",
    "Crop",
    "Depth",
    "Picture",
    "Role",
    "atomic_write",
    "atomic_write_bytes",
    "atomic_write_text",
    "check_folder",
    "check_format",
    "check_sides",
    "find_images",
    "fitting_depth",
    "jpeg_bytes",
    "load_image",
    "png_bytes",
    "read_picture",
    "remove_scratch",
    "save_picture",
    "save_png",
    "sort_out",
    "to_pillow",
    "to_uint8",
    "usual_suffix",
]
