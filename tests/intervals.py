"""An independent computation of the tables' 95 % intervals: Wilson's by searching the roots of
what defines it, in decimal arithmetic; that of clustered observations with NumPy, Student's t
from a numerical integral of its density."""

import functools
import math
from decimal import Decimal, getcontext

import numpy as np

getcontext().prec = 40
NORMAL = Decimal("1.959963984540054235524594430520551527955550")
NOTHING = (float("nan"), float("nan"))
MANY = 10000  # degrees of freedom, from which on t is the normal distribution's


def root(function, low, high):
    """Where the function, which is positive at low and not at high, becomes 0."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return float(low)


@functools.lru_cache(maxsize=None)
def wilson(share, observations):
    """The p with |share - p| = z sqrt(p (1 - p) / observations), below and above the share."""
    if not observations or math.isnan(share):
        return NOTHING
    share, observations = Decimal(float(share)), Decimal(float(observations))

    def outside(p):
        return (share - p) ** 2 * observations - NORMAL ** 2 * p * (1 - p)

    low = root(outside, Decimal(0), share) if share > 0 else 0.0
    high = root(lambda p: outside(1 - p), Decimal(0), 1 - share) if share < 1 else 0.0
    return low, 1 - high


@functools.lru_cache(maxsize=None)
def student(degrees):
    """The t below which |t| is in 95 % of all cases."""
    if degrees >= MANY:
        return float(NORMAL)
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)

    def within(t):
        x, step = np.linspace(0, t, 4001, retstep=True)
        density = (1 + x * x / degrees) ** (-(degrees + 1) / 2)
        return 2 * scale * step / 3 * (density[0] + density[-1] + 4 * density[1::2].sum() + 2
                                       * density[2:-1:2].sum())

    return root(lambda t: 0.95 - within(t), 1.9, 13.0)


def clustered(parts, wholes, most=math.inf):
    """Of sum(parts) / sum(wholes), an element a cluster: Wilson's for the effective number of
    observations."""
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    count = len(parts)
    if not count:
        return NOTHING
    share, effective = parts.sum() / wholes.sum(), count
    residual = parts - share * wholes
    if np.abs(residual).max() > 1e-6 * wholes.max():
        variance = count / (count - 1) * (residual ** 2).sum() / wholes.sum() ** 2
        effective = min(share * (1 - share) / variance, most) * (float(NORMAL) / student(count - 1)) ** 2
    return wilson(min(share, 1.0), max(effective, 1.0))


def mean(parts, wholes):
    """Of sum(parts) / sum(wholes), an element a cluster, parts being of any size: Student's."""
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    count = len(parts)
    if count < 2:
        return NOTHING
    middle = parts.sum() / wholes.sum()
    variance = count / (count - 1) * ((parts - middle * wholes) ** 2).sum() / wholes.sum() ** 2
    reach = student(count - 1) * math.sqrt(variance)
    return middle - reach, middle + reach


def named(intervals):
    """{share: (low, high)} -> the columns that a table has at its end."""
    return {f"{share}_{end}": limit for share, limits in intervals.items()
            for end, limit in zip(("low", "high"), limits)}


def of_row(row, **observations):
    """The columns of a row's shares, of so many independent observations each."""
    return named({share: wilson(row[share], count) for share, count in observations.items()})


def of_all(row, count, *shares):
    """The row with the columns of these shares of count independent observations."""
    return {**row, **of_row(row, **dict.fromkeys(shares, count))}


def without(rows):
    """A table's rows without these columns."""
    return [{name: field for name, field in row.items() if not name.endswith(("_low", "_high"))}
            for row in rows]
