//! `docs/features.md` does what it says: its commands run as written, and print what stands below them.

use std::fs;
use std::path::Path;

use crate::architecture::root;
use crate::harness::{Cluster, Command, QUORATE, s};

/// A block of commands, and what it has to print.
struct Block {
    line: usize,
    commands: String,
    prints: Vec<String>,
}

/// The `sh` blocks with the `text` blocks that follow them.
fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = "";
    for (number, line) in page.lines().enumerate() {
        match (inside, line.trim_end()) {
            ("", "```sh") => {
                inside = "sh";
                found.push(Block { line: number + 1, commands: String::new(), prints: Vec::new() });
            }
            ("", "```text") => inside = "text",
            (_, "```") => inside = "",
            ("sh", command) => {
                let block = found.last_mut().expect("the block was begun");
                block.commands.push_str(command);
                block.commands.push('\n');
            }
            ("text", printed) => {
                found.last_mut().expect("commands come first").prints.push(printed.to_owned());
            }
            _ => {}
        }
    }
    found
}

/// Whether a line is as written; `…` stands for anything.
fn is_like(line: &str, written: &str) -> bool {
    let mut rest = line.trim_end();
    let mut parts = written.trim_end().split('…');
    let first = parts.next().unwrap_or_default().trim_end_matches(' ');
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let mut open = false;
    for part in parts {
        open = true;
        match rest.find(part.trim()) {
            Some(at) => rest = &rest[at + part.trim().len()..],
            None => return false,
        }
        if !part.trim().is_empty() {
            open = false;
        }
    }
    open || rest.trim().is_empty()
}

#[test]
fn every_feature_shows_what_the_page_says() {
    let page = fs::read_to_string(root().join("docs/features.md")).expect("docs/features.md");
    let blocks = blocks(&page);
    assert!(blocks.len() >= 10 && blocks.iter().all(|block| !block.prints.is_empty()), "blocks that print");
    let cluster = Cluster::start(3, &[]);
    let bin = cluster.dir().join("bin");
    fs::create_dir_all(&bin).expect("a directory for the command");
    std::os::unix::fs::symlink(QUORATE, bin.join("quorate")).expect("a link to the command");
    let wrong: Vec<String> =
        blocks.iter().filter_map(|block| run(block, &cluster.endpoints(), &bin)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What a row of the table names is there: a command of a block, or a test.
#[test]
fn every_row_of_the_table_names_what_is_run() {
    let page = fs::read_to_string(root().join("docs/features.md")).expect("docs/features.md");
    let commands: Vec<String> = blocks(&page)
        .iter()
        .flat_map(|block| block.commands.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let (_, table) = page.split_once("| | shown by |\n|---|---|\n").expect("the table");
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 50, "{} rows", rows.len());
    let is_run = |row: &str| {
        let quoted: Vec<String> =
            row.split('`').skip(1).step_by(2).map(|one| one.replace("\\|", "|")).collect();
        match &quoted[..] {
            [command] => commands.iter().any(|one| one == command),
            [file, name] => {
                let source = fs::read_to_string(root().join(file)).unwrap_or_default();
                let test = source.split_once(&format!("fn {name}("));
                test.is_some_and(|(before, _)| {
                    before.trim_end_matches("async ").trim_end().ends_with("test]")
                })
            }
            _ => false,
        }
    };
    let missing: Vec<&str> = rows.into_iter().filter(|row| !is_run(row)).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Returns what is not as the page says.
fn run(block: &Block, endpoints: &str, bin: &Path) -> Option<String> {
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let ran = Command::of("sh", endpoints, &["-e", "-c", &block.commands])
        .env("PATH", Path::new(&path))
        .timeout(s(120))
        .run()
        .ok();
    let printed: Vec<&str> = ran.stdout.lines().collect();
    let same = printed.len() == block.prints.len()
        && printed.iter().zip(&block.prints).all(|(line, written)| is_like(line, written));
    (!same).then(|| {
        format!(
            "docs/features.md, the commands from line {} on print\n{}\nand not\n{}",
            block.line,
            printed.join("\n"),
            block.prints.join("\n")
        )
    })
}
