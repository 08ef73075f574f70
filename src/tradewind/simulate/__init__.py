"""A synthetic shop with known truth. Everything that comes out of it is simulated, and says so.

>>> from tradewind.simulate.world import World
>>> from tradewind.simulate.respond import respond
>>> from tradewind.simulate.truth import best_action, true_profit
"""
