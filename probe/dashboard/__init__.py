"""What people see of a run while it goes on: on the terminal, and as a page on loopback.

Theory of operation. An *onlooker* is a process of its own (`python -m probe.dashboard`), since
to draw, to serve and to wait for a terminal must not disturb what is measured. From the run's
loop it is told four times a second how far the counters are (`told`); all else it reads where the
judging wing will read it, in the journals that the run is writing (`tail`). So nothing is counted
for it that is not counted anyhow, and a terminal or a browser that does not read costs the run
nothing: what it was not told in time is not sent later.

The rule: it judges nothing, every percentile says how many it rests on, and what this machine's
state has vetoed is shown as that.
"""
