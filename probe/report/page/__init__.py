"""report.html: one run as one file that opens from disk, asks nobody and runs nobody else's code.

The rule: Python decides what is shown and in which words, the script in the page only places and
draws it. All text goes in as one JSON block and comes out by `textContent`; nothing that a server
sent is ever parsed as HTML, and the page's policy allows no script but the two it is shipped with.
What is drawn are counts of bins, never raw points, so that a long run opens as fast as a short one.
"""
