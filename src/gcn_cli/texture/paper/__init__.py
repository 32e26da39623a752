"""The paper's own recipe: one field at one noise level, its layers perhaps grown one by one.

What lives here: the plan of stages, updates by persistent, restarted or data-driven chains, the
divergence guard, and fresh chains under the learned weights. What may not: files, clocks,
terminals, and the recipe of fields at all noise levels, which is one package up. Read `model`,
`plan`, `field`, then `learn` and `draw`.
"""
