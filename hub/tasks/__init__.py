"""Durable tasks: attempts with leases and fencing, retries, timeouts, proved cancellation, numbered updates.

=============  ==================================================================================
``engine``     `TaskEngine`: everything here put together, one per tenant and hub
``settings``   limits and times
``record``     a task as it is stored
``state``      the state machine: pure functions from a task and an event to the next task
``policy``     what follows a failed attempt; pure
``deadlines``  timeouts as points in time; pure
``store``      tasks in the context store, changed by compare-and-set
``history``    updates that no longer travel in the record
``watch``      readers that wait for a task to move
``directory``  the port to the registry: who is there
``backlog``    the queue as this replica remembers it
``slots``      how many attempts each runner holds
``targets``    from what a task names to the runner that takes it
``dispatch``   when and where: passes over the queue, scans of the store
``handover``   tells a runner to start, and makes sense of the answer
``reports``    what runners say, from the durable stream into the records
``cancel``     ends attempts, passes a cancel on to the children
``overseer``   timeouts, leases that ran out, tasks old enough to be forgotten
``announce``   hints to the other replicas
``explain``    why a task is where it is
=============  ==================================================================================
"""
