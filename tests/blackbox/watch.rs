//! `--watch`: one shared way of looking again and again, on a terminal and off it.

use std::io::Read as _;
use std::process::{Command as Process, Stdio};
use std::time::UNIX_EPOCH;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Cluster, QUORATE, Running, Terminal, pages_with, s, until};

/// Waits until a command has written so many lines that have this in them.
fn wait_lines(running: &Running, part: &str, count: usize) -> String {
    until(&format!("{count} lines with {part:?}"), s(20), || {
        let said = running.said();
        (said.lines().filter(|line| line.contains(part)).count() >= count).then_some(said)
    })
}

#[test]
fn the_verbs_that_read_can_watch() {
    let mut verbs: Vec<String> = pages_with("watch").iter().map(|page| page.name()).collect();
    verbs.sort();
    let mut expected = [
        "cluster status",
        "explain",
        "parked list",
        "producers",
        "queue list",
        "queue show",
        "stat",
        "state get",
        "state list",
        "sub list",
        "sub show",
    ]
    .map(|verb| format!("quorate {verb}"));
    expected.sort();
    assert_eq!(verbs, expected);
}

/// Each of them: frames come, Ctrl-C ends them, and that is no failure.
#[test]
fn every_watch_shows_frame_after_frame_until_it_is_interrupted() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    cluster.quorate(&["state", "put", "k", "v"]).ok();
    for verb in [
        &["cluster", "status"][..],
        &["explain", "q"],
        &["parked", "list", "q"],
        &["producers"],
        &["queue", "list"],
        &["queue", "show", "q"],
        &["stat", "q"],
        &["state", "get", "k"],
        &["state", "list"],
        &["sub", "list", "q"],
        &["sub", "show", "q", "default"],
    ] {
        let running = cluster.command(&[verb, &["--watch", "100ms"]].concat()).start();
        let said = wait_lines(&running, "every 100ms: quorate", 3);
        assert!(
            said.contains(&verb.join(" ")) && !said.contains('\x1b'),
            "no terminal, no escapes: {said:?}"
        );
        running.signal(Signal::INT);
        running.wait().ok();
    }
}

#[test]
fn json_is_a_line_an_object_and_frame() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "a"]).ok();
    cluster.quorate(&["queue", "create", "b"]).ok();
    let running = cluster.command(&["queue", "list", "-o", "json", "--watch", "100ms"]).start();
    wait_lines(&running, "\"name\":\"b\"", 3);
    running.signal(Signal::INT);
    let lines = running.wait().ok().lines();
    let names: Vec<&Value> = lines.iter().map(|line| &line["name"]).collect();
    assert!(names.len() >= 6 && names.len().is_multiple_of(2), "whole frames: {names:?}");
    names.chunks(2).for_each(|frame| assert_eq!(frame, [&json!("a"), &json!("b")]));
}

/// A key that is not there yet is what a watch waits for; a queue that is not there is refused.
#[test]
fn a_watch_is_refused_like_a_look() {
    let cluster = Cluster::start(1, &[]);
    let running = cluster.command(&["state", "get", "k", "-o", "json", "--watch", "100ms"]).start();
    wait_lines(&running, "\"version\":0", 1);
    cluster.quorate(&["state", "put", "k", "v"]).ok();
    wait_lines(&running, "\"value\":\"v\"", 1);
    running.signal(Signal::INT);
    running.wait().ok();
    cluster.quorate(&["stat", "nowhere", "--watch"]).fails(1, &["nowhere", "UNKNOWN_QUEUE", "what to do:"]);
    for wrong in ["99ms", "2h", "soon"] {
        cluster.quorate(&["stat", "q", "--watch", wrong]).fails(2, &[wrong]);
    }
    cluster.quorate(&["stat", "--watch", "q"]).fails(2, &["names go before --watch"]);
}

/// The leader goes and comes back: the watch says so, and goes on.
#[test]
fn a_watch_outlives_the_leader() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let people = cluster.command(&["stat", "q", "--watch", "100ms", "--timeout", "500ms"]).start();
    let programs =
        cluster.command(&["stat", "q", "-o", "json", "--watch", "100ms", "--timeout", "500ms"]).start();
    wait_lines(&people, "LENGTH", 1);
    wait_lines(&programs, "\"length\":0", 1);
    cluster.kill(0);
    wait_lines(&people, "error: no leader found", 2);
    let before = programs.said().lines().count();
    cluster.restart(0);
    cluster.quorate(&["publish", "q", "m"]).ok();
    wait_lines(&programs, "\"length\":1", 1);
    let said = people.said();
    until("figures again", s(20), || people.said()[said.len()..].contains("LENGTH").then_some(()));
    [&people, &programs].iter().for_each(|running| running.signal(Signal::INT));
    people.wait().ok();
    let ended = programs.wait().ok();
    assert!(ended.lines().len() > before, "every line of standard output is an object");
    let told: Value = serde_json::from_str(ended.stderr.lines().next().expect("an error")).expect("JSON");
    assert_eq!(told["exit"], json!(4), "{told}");
}

/// When each frame of `stat` was shown, in seconds, and the rate in it; the first has none.
fn frames(said: &str) -> Vec<(f64, f64)> {
    let lines: Vec<&str> = said.lines().collect();
    let frame = |at: usize| {
        let time = humantime::parse_rfc3339(lines[at].split(' ').next()?).ok()?;
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        let (names, row) = (lines.get(at + 2)?, lines.get(at + 3)?);
        let at = names.find("PUBLISHED/S")?;
        Some((seconds, row.get(at..).unwrap_or_default().trim().parse().unwrap_or(0.0)))
    };
    (0..lines.len()).filter(|at| lines[*at].contains("every 1s")).filter_map(frame).collect()
}

/// What is published between two looks, by its positions.
#[test]
fn stat_shows_what_is_published_a_second() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let running = cluster.command(&["stat", "q", "--watch", "1s"]).start();
    wait_lines(&running, "PUBLISHED/S", 2);
    let lines: String = (0..100).map(|number| format!("{number}\n")).collect();
    cluster.command(&["publish", "q", "--file", "-"]).stdin(lines.as_bytes()).run().ok();
    let said = wait_lines(&running, " 100 ", 2);
    running.signal(Signal::INT);
    running.wait().ok();
    let frames = frames(&said);
    // A rate counts for the time since the frame before, however long that was.
    let published: f64 = frames.windows(2).map(|pair| pair[1].1 * (pair[1].0 - pair[0].0)).sum();
    assert!((90.0..110.0).contains(&published), "100 messages, and not {published}: {frames:?} in {said}");
    assert!(!cluster.quorate(&["stat", "q"]).ok().stdout.contains("PUBLISHED/S"), "one look has no rate");
}

/// `quorate … --watch | head` leaves nothing running.
#[test]
fn a_watch_ends_with_its_reader() {
    let cluster = Cluster::start(1, &[]);
    for verb in [&["cluster", "status"][..], &["queue", "list", "-o", "json"]] {
        let mut process = Process::new(QUORATE);
        process.env("QUORATE_ENDPOINT", cluster.endpoints()).args(verb).args(["--watch", "100ms"]);
        let mut child =
            process.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the command starts");
        let mut stdout = child.stdout.take().expect("a pipe");
        if verb.contains(&"status") {
            stdout.read_exact(&mut [0; 8]).expect("a frame");
        }
        drop(stdout);
        // There is no queue: it notices though it has nothing to write.
        let status =
            until("the end of the watch", s(10), || child.try_wait().expect("a child can be waited for"));
        assert_eq!(status.code(), Some(0), "{verb:?}");
    }
}

#[test]
fn a_terminal_is_redrawn_and_cut_at_its_last_row() {
    let cluster = Cluster::start(1, &[]);
    for number in 0..20 {
        cluster.quorate(&["queue", "create", &format!("queue-{number}")]).ok();
    }
    let args = ["queue", "list", "--watch", "100ms"];
    let mut terminal = Terminal::start(&cluster.endpoints(), &args, 10, &[]);
    let said = terminal.wait_for("more lines", s(10));
    let frames = until("three frames", s(10), || {
        let said = terminal.said();
        (said.matches("\x1b[H").count() >= 4).then_some(said)
    });
    assert!(said.starts_with("\x1b[2J\x1b[H"), "the terminal is cleared once: {said:?}");
    assert_eq!(frames.matches("\x1b[2J").count(), 1, "and then written over, which does not flicker");
    let frame = frames.split("\x1b[H").nth(2).expect("a second frame");
    assert_eq!(frame.matches("\x1b[K").count(), 9, "ten rows, the last for the cursor: {frame:?}");
    assert!(frame.contains("queue-0") && frame.contains("… 15 more lines"), "{frame:?}");
    terminal.interrupt();
    let (code, _) = terminal.end(s(10));
    assert_eq!(code, 0);
}
