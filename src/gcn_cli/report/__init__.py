"""What ``gcn inspect`` tells of a model: figures, tables, pictures and a page.

What lives here: measuring a finished model by the functions of `gcn_cli.field`, its verdict in
words, and how all of it is drawn. What may not: learning, and anything that changes a run. Read
`measure`, `at_size` and `facts` for the default recipe, then `certificate`, `stay` and `verdict`;
`score`, `evidence` and `likely` for single pictures; `inspection` for the paper's models.
"""
