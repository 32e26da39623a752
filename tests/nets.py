"""Small networks at all noise levels that field and engine are both tested with."""

from gcn_cli.field.network import LayerSpec as L
from gcn_cli.field.network import NoiseNet

NETS = {
    "four layers": NoiseNet((L(6, 6, 2, True), L(8, 3, 1, True), L(5, 4, 2), L(4, 3, 1, True)), 2),
    "stride 1 first": NoiseNet((L(4, 3), L(5, 4, 2, True), L(3, 3, 1, True)), 1),
    "stride 3": NoiseNet((L(4, 5, 3, True), L(3, 4, 2, True)), 2),
    "one vote": NoiseNet((L(6, 4, 2), L(4, 3, 1, True)), 2),
}
