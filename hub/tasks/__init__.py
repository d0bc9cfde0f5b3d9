"""Durable tasks: from accepted to ended, through attempts with leases.

=============  ==============================================================================
``engine``     all of it together, for one tenant in one hub
``state``      the state machine: pure functions from a task and an event to the next task
``policy``     what follows a failed attempt; pure
``deadlines``  timeouts as points in time; pure
``record``     a task as it lies in the store
``store``      reading and changing records by compare-and-set
``history``    updates that no longer travel in the record
``backlog``    the queue as this replica knows it
``slots``      how many attempts each runner holds
``directory``  who is there now
``targets``    from what a task names to the runner that takes it
``dispatch``   tasks to runners
``handover``   tells a runner to start, and makes sense of the answer
``reports``    what runners report, into the records
``cancel``     ends attempts, and passes a cancel on to the children
``overseer``   timeouts, leases that ran out, old tasks
``watch``      readers that wait for a task to move
``announce``   hints to the other replicas
``explain``    why a task is where it is
``settings``   limits and times
=============  ==============================================================================
"""
