"""Rules that share a score out among a layer's inputs, for the walk back: f(op, dy) -> dx (see rules.py).

They need what `net(x, keep="inputs")` keeps: op.x, the input of the layer. A composite says which rule a layer gets.
"""
