"""All classes of faults, in the order of the table."""

import fault_processes  # noqa: F401 (each adds its classes)
import fault_damage  # noqa: F401
import fault_makes  # noqa: F401
from faults import CLASSES  # noqa: F401
