"""The Box: a value that binds skills to an environment.

===============  ====================================================================
``skill``        `skill`, `spec_of`, `bind`: typed functions as skills
``signature``    their hints as pydantic sees them
``context``      `Context`: what a skill may ask of the platform while it runs
===============  ====================================================================
"""
