"""The mathematics of the generative ConvNet: torch and the standard library only.

Reading order: `network` (tilt, pattern, basis) -> `energy` (density, score, linear piece) ->
`noise` -> `langevin` -> `fused` (the same basis, rearranged for speed) -> `learning` -> `guard`
-> `field` -> `schedule` (layers grown one by one) -> `synthesis`. Nothing here knows files, clocks,
terminals or global random state.
"""
