//! Help: every verb has examples, and every example of every page runs as it stands there.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::harness::{Cluster, Command, Page, QUORATE, Running, pages, ports, runtime, s, until};
use crate::scene;

/// What fits on the narrowest terminal that people use.
const WIDTH: usize = 80;
/// How long something that only ends with Ctrl-C runs if it says nothing.
const QUIET_LOOKS: u32 = 100;
/// Pages whose examples name positions or tokens. Those of a queue's name are never used again, so they need a cluster in which the scene was
/// never set.
const NAME_POSITIONS: [&str; 5] = [
    "quorate transact",
    "quorate delayed",
    "quorate delayed cancel",
    "quorate delayed reschedule",
    "quorate sub seek",
];
/// What asks every member: that of other examples is gone.
const ASKS_ALL: &str = "quorate cluster version";

#[test]
fn every_page_has_examples_and_its_own_options_first() {
    for page in pages() {
        let (name, examples) = (page.name(), page.examples());
        assert!((2..=4).contains(&examples.len()), "{name}: 2 to 4 examples, and not {examples:?}");
        let own = |example: &&String| example.contains(&name) || page.verb.is_empty();
        assert!(examples.iter().filter(own).count() >= 1, "{name}: an example of its own: {examples:?}");
        let wide: Vec<&str> = page
            .lines_of_examples()
            .filter(|line| line.starts_with("    ") && line.chars().count() > WIDTH)
            .collect();
        assert!(wide.is_empty(), "{name}: what is to be copied must not be wrapped: {wide:?}");
        let undescribed = page.text.lines().zip(page.text.lines().skip(1)).find(|(line, next)| {
            line.trim_start().starts_with('-')
                && line.starts_with("  ")
                && !next.starts_with("          ")
                && !line.contains("   ")
                && !next.starts_with("  -")
                && !next.trim().is_empty()
        });
        assert!(undescribed.is_none(), "{name}: every option says what it is for: {undescribed:?}");
        if let Some(connection) = page.text.find("\nConnection and output:\n") {
            let options = page.text.find("\nOptions:\n").expect("options of its own, --help at least");
            assert!(options < connection, "{name}: its own options stand first");
            assert!(!page.text[options..connection].contains("--endpoint"), "{name}");
            assert!(page.text[connection..].contains("--timeout <DURATION>"), "{name}");
        }
    }
}

/// The examples are about the scene; those of a page find it as nobody has touched it.
#[test]
fn every_example_of_every_page_runs() {
    let mut pages = pages();
    // Versions count from 1 in a new cluster, which one example shows; and a member that is removed is gone.
    let turn = |page: &Page| match page.name().as_str() {
        "quorate state delete" => 0,
        "quorate cluster remove" => 2,
        _ => 1,
    };
    pages.sort_by_key(turn);
    let apart = |page: &&Page| NAME_POSITIONS.contains(&page.name().as_str()) || page.name() == ASKS_ALL;
    let (apart, together): (Vec<&Page>, Vec<&Page>) = pages.iter().partition(apart);
    // One cluster at a time: tests take turns.
    let mut wrong: Vec<String> = {
        let stage = Stage::new();
        together.into_iter().flat_map(|page| stage.run(page)).collect()
    };
    wrong.extend(apart.into_iter().flat_map(|page| Stage::new().run(page)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where examples run: a cluster of three, a directory, and a path with `quorate`.
struct Stage {
    cluster: Cluster,
    dir: PathBuf,
    path: String,
}

impl Stage {
    fn new() -> Self {
        let cluster = Cluster::start(3, &[]);
        let (dir, bin) = (cluster.dir().join("home"), cluster.dir().join("bin"));
        for below in [".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"] {
            fs::create_dir_all(dir.join(below)).expect("a directory that shells have");
        }
        fs::create_dir_all(&bin).expect("a directory for the command");
        std::os::unix::fs::symlink(QUORATE, bin.join("quorate")).expect("a link to the command");
        if Command::of("sh", "", &["-c", "command -v man"]).run().code != 0 {
            std::os::unix::fs::symlink("/bin/cat", bin.join("man"))
                .expect("a stand-in for a program that is not here");
        }
        let lines = "{\"customer\":\"anna\",\"id\":\"o-1\"}\n{\"customer\":\"bert\",\"id\":\"o-2\"}\n";
        fs::write(dir.join("orders.jsonl"), lines).expect("a file of orders");
        fs::write(dir.join("quorate.toml"), "name = \"n1\"\nheartbeat = \"50ms\"\n")
            .expect("a file of settings");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Self { cluster, dir, path }
    }

    /// Runs the examples of a page, one after the other. Returns what went wrong.
    fn run(&self, page: &Page) -> Vec<String> {
        let runtime = runtime();
        let client = self.cluster.client(s(30));
        let empty = page.examples().iter().any(|example| example.starts_with("quorate queue create"));
        let held = runtime.block_on(async {
            if empty {
                scene::clear(&client).await;
                return None;
            }
            scene::set(&client).await;
            match page.name().as_str() {
                "quorate transact" => Some(scene::hold(&client).await),
                _ => None,
            }
        });
        let failed = |example: &String| self.example(example).err();
        let wrong =
            page.examples().iter().filter_map(failed).map(|why| format!("{}: {why}", page.name())).collect();
        drop(held);
        wrong
    }

    fn example(&self, line: &str) -> Result<(), String> {
        let serves = ["quorate dev", "quorate serve"].iter().any(|verb| line.starts_with(verb));
        let line = if serves { self.on_free_ports(line) } else { line.to_owned() };
        let follows = ["--follow", "--watch"].iter().any(|flag| line.contains(flag));
        let endless = follows || serves && !line.contains("--print-config");
        // Signals are for the command and not for its shell.
        let script = if endless { format!("exec {line}") } else { line.clone() };
        let command = Command::of("sh", &self.cluster.endpoints(), &["-e", "-c", &script])
            .env("PATH", Path::new(&self.path))
            .env("HOME", &self.dir)
            .env("QUORATE_CLIENT_ADDR", Path::new(&free_addr()))
            .env("QUORATE_HTTP_ADDR", Path::new(&free_addr()))
            .current_dir(&self.dir);
        let started = command.start();
        if endless {
            interrupt_when_it_speaks(&started, serves);
        }
        let ended = started.wait();
        match ended.code {
            0 if !ended.stdout.is_empty() || line.contains('>') || follows => Ok(()),
            0 => Err(format!("{line}: it says nothing")),
            code => Err(format!("{line}: ended with {code}: {}{}", ended.stdout, ended.stderr)),
        }
    }

    /// What listens takes ports that are free, and joins this cluster; the rest is as it stands there.
    fn on_free_ports(&self, line: &str) -> String {
        let line =
            line.replace("--join 127.0.0.1:7401", &format!("--join {}", self.cluster.nodes()[0].peer_addr));
        if line.starts_with("quorate dev") {
            return format!("{line} --port-base {}", ports::free_row(30));
        }
        let mut line = line;
        for port in ["7400", "7401", "7402", "7430", "7431", "7432"] {
            let free = ports::free().to_string();
            line = line.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{free}"));
        }
        line
    }
}

fn free_addr() -> String {
    format!("127.0.0.1:{}", ports::free())
}

/// A server has to say that it is ready; what waits for messages may have none to show.
fn interrupt_when_it_speaks(running: &Running, serves: bool) {
    let mut looks = 0;
    until("something to interrupt", s(60), || {
        looks += 1;
        let said = running.said();
        let ready = if serves { said.contains("ready") } else { !said.is_empty() || looks > QUIET_LOOKS };
        ready.then_some(())
    });
    running.signal(Signal::INT);
}
