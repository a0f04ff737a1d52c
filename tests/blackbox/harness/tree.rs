//! The tree of verbs, as `--help` shows it.

use super::{Command, Output};

/// The help of a verb, or of the command itself.
pub struct Page {
    /// The words after `quorate`.
    pub verb: Vec<String>,
    /// What `--help` prints.
    pub text: String,
}

impl Page {
    /// `quorate` and the verb.
    pub fn name(&self) -> String {
        std::iter::once("quorate").chain(self.verb.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }

    /// The lines below `Examples:`.
    pub fn lines_of_examples(&self) -> impl Iterator<Item = &str> {
        let (_, below) = self.text.split_once("\nExamples:\n").unwrap_or_default();
        below.lines().take_while(|line| line.starts_with("  "))
    }

    /// The commands below `Examples:`. They are indented by four; a line of two says what they are for, and one of more goes
    /// on from the one before.
    pub fn examples(&self) -> Vec<String> {
        let mut commands: Vec<String> = Vec::new();
        for line in self.lines_of_examples().filter_map(|line| line.strip_prefix("    ")) {
            match (commands.last_mut(), line.strip_prefix("  ")) {
                (Some(command), Some(more)) => *command = format!("{command}\n{more}"),
                _ => commands.push(line.to_owned()),
            }
        }
        commands
    }
}

/// `--help` of a verb.
pub fn help(verb: &[String]) -> Output {
    let args: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
    Command::new("", &args).run().ok()
}

/// Every page, from the top down.
pub fn pages() -> Vec<Page> {
    let mut found = Vec::new();
    walk(&[], &mut found);
    assert!(found.len() > 40, "the verbs are found: {}", found.len());
    found
}

/// Those of the pages that have this option.
pub fn pages_with(option: &str) -> Vec<Page> {
    let has = |page: &Page| page.text.lines().any(|line| line.contains(&format!("--{option} ")));
    pages().into_iter().filter(has).collect()
}

fn walk(verb: &[String], found: &mut Vec<Page>) {
    let text = help(verb).stdout;
    let below = below(&text);
    found.push(Page { verb: verb.to_vec(), text });
    for name in below {
        walk(&[verb, &[name]].concat(), found);
    }
}

/// The verbs that a page lists: its sections before `Options:`, if its usage wants a command.
fn below(text: &str) -> Vec<String> {
    if !text.lines().any(|line| line.starts_with("Usage: ") && line.ends_with(" <COMMAND>")) {
        return Vec::new();
    }
    let listed = text.lines().skip_while(|line| !line.starts_with("Usage: ")).skip(1);
    let listed = listed.take_while(|line| *line != "Options:").filter(|line| line.starts_with("  "));
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}
