"""HEAR models that need no wrapper: baselines, hand-crafted features, and adapters of other libraries' encoders.

``catalogue`` lists them all. It imports none of them, and each is imported only when it is asked for.
"""
