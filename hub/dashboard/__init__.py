"""The live page: what runs, where and why; messages, tasks, branches.

==============  =====================================================================================
``routes``      `mount_dashboard`: the page, its assets and the one WebSocket, on the gateway's app
``feed``        `Feed`: observes one tenant and gives every viewer the same numbered frames
``observed``    what the feed reads of the hub, as small protocols over its services
``tap``         listens to the bus outside the message path, within a budget
``listener``    one subscription that the server ends when its credit is used
``budget``      a token bucket
``state``       what the page shows of store and registry, read when ``hints`` say so and in sweeps
``hints``       what passes on the bus, as ids to read again
``rates``       messages per second, now and over the last minutes
``rows``        records and messages as the short rows the page shows
``table``       rows by id that know what changed since the last frame
``viewers``     one bounded queue per browser
``limits``      every bound of the above, in one place
``web/``        Svelte source; ``static/`` is what it builds to
==============  =====================================================================================
"""

from hub.dashboard.feed import Feed
from hub.dashboard.limits import FeedLimits
from hub.dashboard.routes import mount_dashboard

__all__ = ["Feed", "FeedLimits", "mount_dashboard"]
