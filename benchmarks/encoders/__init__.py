"""Encoders that need no wrapper, as HEAR models: the baselines, hand-made features, and adapters of other libraries.

``catalogue`` lists them all. It imports none of them, and each is imported only when it is asked for.
"""
