//! Black-box tests of the `quorate` command.
