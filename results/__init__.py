"""What came out: records, the store, metrics derived from raw answers, statistics, leaderboard, figures.

Nothing here loads a model or imports the runners.
"""
