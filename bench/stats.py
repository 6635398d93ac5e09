# SPDX-License-Identifier: Apache-2.0
"""Medians of alternating pairs, and how far to believe them."""
import random
import statistics

DRAWS = 4000


def lower_bound(values, confidence=0.95, seed=1):
    """One-sided bound below the median: the percentile bootstrap."""
    rng = random.Random(seed)
    medians = sorted(
        statistics.median(rng.choices(values, k=len(values)))
        for _ in range(DRAWS))
    return medians[int((1 - confidence) * DRAWS)]


def summary(values):
    return {'median': statistics.median(values),
            'lower': lower_bound(values), 'pairs': len(values)}


def verdict(ratios, target):
    """Whether the median is at the target and the bound near to it."""
    s = summary(ratios)
    return s['median'] >= target and s['lower'] >= 0.95 * target
