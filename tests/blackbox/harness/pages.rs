//! Pages that are held against what happens: their fenced blocks, and the commands among them run as written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Command, QUORATE, s};

/// A block between fences.
pub struct Fenced {
    /// The page's line with the fence.
    pub line: usize,
    /// What the fence says that it is, such as `sh`.
    pub language: String,
    /// The lines inside.
    pub lines: Vec<String>,
}

/// A block of commands, and what it has to print.
pub struct Block {
    /// The page's line on which it begins.
    pub line: usize,
    /// The commands, a line each.
    pub commands: String,
    /// The lines that they print.
    pub prints: Vec<String>,
}

/// All fenced blocks of a page, in their order.
pub fn fenced(page: &str) -> Vec<Fenced> {
    let mut found: Vec<Fenced> = Vec::new();
    let mut inside = false;
    for (number, line) in page.lines().enumerate() {
        match (inside, line.trim_end().strip_prefix("```")) {
            (false, Some(language)) => {
                found.push(Fenced { line: number + 1, language: language.to_owned(), lines: Vec::new() });
                inside = true;
            }
            (true, Some(_)) => inside = false,
            (true, None) => found.last_mut().expect("the block was begun").lines.push(line.to_owned()),
            (false, None) => {}
        }
    }
    found
}

/// The `sh` blocks with the `text` blocks that follow them.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    for Fenced { line, language, lines } in fenced(page) {
        match language.as_str() {
            "sh" => found.push(Block { line, commands: lines.join("\n"), prints: Vec::new() }),
            "text" => found.last_mut().expect("commands come first").prints.extend(lines),
            _ => {}
        }
    }
    found
}

/// Makes a directory for the path below `scratch` in which the command under test is `quorate`.
pub fn bin(scratch: &Path) -> PathBuf {
    let bin = scratch.join("bin");
    fs::create_dir_all(&bin).expect("a directory for the command");
    symlink(QUORATE, bin.join("quorate")).expect("a link to the command");
    bin
}

impl Block {
    /// Runs it; returns what is not as the page says.
    pub fn run(&self, page: &str, endpoints: &str, bin: &Path) -> Option<String> {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let ran = Command::of("sh", endpoints, &["-e", "-c", &self.commands])
            .env("PATH", Path::new(&path))
            .timeout(s(120))
            .run()
            .ok();
        let printed: Vec<&str> = ran.stdout.lines().collect();
        let same = printed.len() == self.prints.len()
            && printed.iter().zip(&self.prints).all(|(line, written)| is_like(line, written));
        (!same).then(|| {
            format!(
                "{page}, the commands from line {} on print\n{}\nand not\n{}",
                self.line,
                printed.join("\n"),
                self.prints.join("\n")
            )
        })
    }
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
