# SPDX-License-Identifier: Apache-2.0
"""What each client must be able to do. A new feature is a function in one of these files."""

# In the order of the page's rows.
from features import records_kept  # isort: skip
from features import places_found  # isort: skip
from features import groups  # isort: skip
from features import administration  # isort: skip
from features import power_cut  # isort: skip
from features.listing import ALL, Place

__all__ = ["ALL", "Place", "administration", "groups", "places_found", "power_cut", "records_kept"]
