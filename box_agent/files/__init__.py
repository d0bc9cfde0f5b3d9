"""Directories to content-addressed trees and back.

================  ==============================================================
``ignore``        what never belongs to a workspace
``limits``        how much one may hold
``scan``          directory → tree and blobs; with a manifest only what changed is read
``manifest``      what was known of each file when it was last read or written
``materialise``   tree → directory
``upload``        what a scan found, to the hub's blob store
``cache``         blobs on this machine, by hash
``memory``        small blobs and decoded trees that were used lately
================  ==============================================================
"""
