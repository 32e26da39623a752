"""What is measured on pictures themselves, without a model and without a pre-trained network.

What lives here: the scores of ``gcn evaluate``, the size of an exemplar's motifs, by which learning
chooses its sizes, and what Markov chains' draws are worth. What may not: a field, a file, a recipe.
Knows torch and the errors alone. Read `metrics` first: its table says what
each score sees.
"""
