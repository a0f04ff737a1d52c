//! Colours are for terminals whose users want them, and for nobody else.

use std::path::Path;

use crate::harness::{Cluster, Terminal, s};

/// What a command writes to a terminal with these variables.
fn shown(endpoints: &str, args: &[&str], env: &[(&str, &str)]) -> String {
    Terminal::start(endpoints, args, 40, env).end(s(20)).1
}

#[test]
fn colours_are_only_on_terminals_that_take_them() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let endpoints = cluster.endpoints();
    let file = cluster.file("lines.txt", "a\nb\n".repeat(2000));
    for (args, coloured) in [
        (&["cluster", "status"][..], "\x1b[1m"),       // a table
        (&["stat", "nowhere"], "\x1b[1;31merror:"),    // an error
        (&["help"], "\x1b["),                          // clap's own help
        (&["queue", "create", "--help"], "\x1b["),     // and that of a verb, with examples
        (&["stat"], "\x1b["),                          // clap's own errors
        (&["publish", "q", "--file", &file], "\x1b["), // a progress bar
    ] {
        let said = shown(&endpoints, args, &[]);
        assert!(said.contains(coloured), "{args:?} on a terminal: {said:?}");
        for env in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let said = shown(&endpoints, args, &[env]);
            assert!(!said.is_empty() && !said.contains('\x1b'), "{args:?} with {env:?}: {said:?}");
        }
        let said = shown(&endpoints, args, &[("NO_COLOR", "")]);
        assert!(said.contains(coloured), "an empty NO_COLOR objects to nothing: {args:?}: {said:?}");
        let elsewhere = cluster.command(args).env("TERM", Path::new("xterm")).run();
        assert!(
            !elsewhere.stdout.contains('\x1b') && !elsewhere.stderr.contains('\x1b'),
            "{args:?} in a pipe"
        );
    }
}

/// A watch moves the cursor, which is for the same terminals as colours.
#[test]
fn a_watch_without_colours_prints_frame_after_frame() {
    let cluster = Cluster::start(1, &[]);
    for env in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let args = ["cluster", "status", "--watch", "100ms"];
        let mut terminal = Terminal::start(&cluster.endpoints(), &args, 40, &[env]);
        let three = |said: &str| said.matches("every 100ms").count() >= 3;
        let said =
            crate::harness::until("three frames", s(10), || Some(terminal.said()).filter(|said| three(said)));
        assert!(!said.contains('\x1b'), "{env:?}: {said:?}");
        terminal.interrupt();
        assert_eq!(terminal.end(s(10)).0, 0);
    }
    let json = ["cluster", "status", "-o", "json", "--watch", "100ms"];
    let mut terminal = Terminal::start(&cluster.endpoints(), &json, 40, &[]);
    terminal.wait_for("\"role\"", s(10));
    assert!(!terminal.said().contains('\x1b'), "JSON is for programs, wherever it goes");
    terminal.interrupt();
    assert_eq!(terminal.end(s(10)).0, 0);
}
