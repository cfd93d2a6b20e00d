"""The certificate: whether the probe sees every defect that the lab can have, and nothing else.

Each case is a whole `probe run` as a process of its own, judged by what it left on disk and
by what the lab's ledger says it did. The rule: this room believes neither the probe nor its
own table; where they differ, it tells both.

    case        what a case is, and the single runs it comes to
    cases       the table of defects
    sound       the table of scenarios on the healthy lab
    runner      one run as a process: its findings, the ledger's hits
    result      what one finished run left behind
    store       finished runs, one JSON line each, so that a broken-off certificate goes on
    sight       what one run came to, and what is wrong with it: pure
    matrix      from runs to the matrix: pure
    pages       the matrix as JSON and as Markdown: pure
    screen      the matrix on a terminal
"""
