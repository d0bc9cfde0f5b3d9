"""The bus: everything that touches NATS.

=================  ==========================================================================
``scope``          tasks that belong to an object
``faults``         counted and throttled reports
``client``         nats-py's client with a synchronous send and direct subscriptions
``connection``     one connection that comes back: reconnects, rebuilds, reports
``deadlines``      many timeouts at the price of few timers
``slots``          a bound on what runs at once
``replies``        one subscription that all answers arrive on
``trace``          the trace a handler runs in, carried into what it sends
``jetstream``      requests to the JetStream API
``streams``        the JetStream streams of a tenant, made when first needed
``publisher``      durable publish: confirmed, or retried with the same id
``delivery``       consumer, pull loop, admission and lanes put together
``admission``      what may start, and how much to ask for
``skills``         a skill as the serving side sees it
``execution``      running a skill to its end
``threads``        daemon threads for blocking functions
``blobrefs``       payloads too large for the bus travel by reference
``received``       Message, Event, Signal: what handlers get
``invocation``     how a user's handler is run: coroutine, or function in a thread
``pull``           the supervised pull loop of a JetStream consumer
``consumers``      making and finding JetStream consumers
``lanes``          delivery: order per sender, retry, dead letter, acknowledge after the effect
``inbox``          direct messages
``events``         durable and ephemeral event subscriptions
``signals``        events that are not stored
``calls``          calling skills
``asking``         the answer to a call, asked after while it does not come
``serving``        serving skills
``dead_letters``   listing and redriving
``presence``       heartbeats and goodbye
=================  ==========================================================================
"""
