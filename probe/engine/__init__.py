"""The acting wing's top: pace, sessions, restarts, health and the watch on ourselves.

It writes rows and never judges them; the roof asks the judging wing between stages.
"""
