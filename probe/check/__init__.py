"""The judging wing: History x Expectation -> findings and a verdict. Pure, no I/O."""
