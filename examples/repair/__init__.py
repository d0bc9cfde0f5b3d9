"""Agents repair a program with failing tests by exploring candidate fixes in parallel branches.

===============  =================================================================
``__main__``     the command
``intake``       checks the directory before anything is started
``team``         brings planner, coders and reviewer together
``planner``      survey, request, commit
``coder``        tries mutations; ``llm_coder`` tries what a language model proposes
``trial``        one candidate: branch, task, outcome
``reviewer``     looks at the winning diff
``run``          what they tell each other
``boxes``        the Box in which tests run
``pytest_run``   runs the real pytest, for the Box
``suspicious``   which lines are suspicious (spectrum-based, Ochiai)
``mutations``    candidate edits of a line
``sources``      reads files of a branch
``progress``     the live display, ``report`` the final one
``apply``        ``--apply``
``problem``      what can be wrong with the input, with exit codes
``config``       settings from the environment
``sample``       the default project, with one bug
===============  =================================================================
"""
