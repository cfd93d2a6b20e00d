"""Arithmetic on arrays: what a set of samples proves, and what it leaves open.

Pure numpy and scipy.special: no input or output, no clock, no event loop; randomness only
from a Generator that the caller seeds. The rule kept throughout: no number without its
interval, and where the samples do not reach, the answer is "unknown" (None or NaN) with
the number of samples it would take, never a guess.

    binomial    tails of the binomial distribution, on which the rest stands
    rates       Clopper-Pearson intervals, gates over rates, bounds from zero hits, Holm
    quantiles   order-statistic intervals and gates, with timeouts and failures in their ranks
    series      autocorrelation, and the block bootstrap where it is too high
    success     success as a function of time
    switch      when a state switched, from observations that each took a while
    window      race windows and steps: what is looked for, and what is known of it
                (`window_search` chooses offsets, `window_fit` says what was seen)
    trials      few trials against few: exposure, confirmation, jitter
    shrink      a race made smaller: which removals still show the anomaly
    levels      one level of load from its repeats: within the limits, beyond, or open
    knee        at which rate a service leaves them: which level is next, and what is known
    usl         how a service scales (Universal Scalability Law)
    queueing    what theory says of a service (M/M/c), and Little's law
    spike       after a spike: the way back, or none
    compare     before and now: the interval of a difference, and what it says
    sides       one arm of a comparison from the samples of one run
    course      where a course of runs changed
    fit         limits of a generator that is fit to measure

Intervals that are shown are two-sided 95 %; the bounds of gates are one-sided 95 %.
"""
