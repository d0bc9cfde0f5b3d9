"""The Box: a value that binds skills to an environment.

===============  ====================================================================
``box``          `Box`: class style and value style, and ``+``
``declared``     class style: what a class statement says, inherited and overridden
``verbs``        what a Box acts with
``composition``  the algebra behind ``+``
``part``         one ingredient of a Box
``identity``     what code is, for fingerprints
``explaining``   the layers of a Box, for people
``packing``      the code as it travels: a pickle for each prefix that may be warm by itself
``program``      the code in a worker
``skill``        `skill`, `spec_of`, `bind`: typed functions as skills
``signature``    their hints as pydantic sees them
``context``      `Context`: what a skill may ask of the platform while it runs
===============  ====================================================================
"""
