//! What shells and `man` are given.

use std::fs;
use std::path::Path;

use crate::harness::{Command, QUORATE, pages};

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "powershell", "elvish"];

fn quorate(args: &[&str]) -> String {
    Command::new("", args).run().ok().stdout
}

#[test]
fn every_shell_gets_a_script_that_knows_the_verbs() {
    for shell in SHELLS {
        let script = quorate(&["completions", shell]);
        for word in ["receive", "redrive", "on-exhausted"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains('\x1b'), "{shell}: no colours in a script");
    }
    Command::new("", &["completions", "tcsh"]).run().fails(2, &["tcsh", "bash"]);
}

#[test]
fn bash_completes_verbs_options_and_values() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let script = scratch.path().join("quorate.bash");
    fs::write(&script, quorate(&["completions", "bash"])).expect("the script is written");
    let script = script.to_str().expect("a path in UTF-8");
    Command::of("bash", "", &["-n", script]).run().ok();
    for (line, last, expected) in [
        ("quorate que", "que", &["queue"][..]),
        ("quorate queue c", "c", &["create"]),
        ("quorate stat --wat", "--wat", &["--watch"]),
        ("quorate queue create q --order ", "", &["key", "none", "total"]),
        ("quorate completions z", "z", &["zsh"]),
    ] {
        // As bash calls it: the words, which one the cursor is in, what there is of it, and the word before.
        let before = line.strip_suffix(last).unwrap_or(line).split_whitespace().last().unwrap_or_default();
        let drive = format!(
            "source {script}; COMP_WORDS=({line} {}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _quorate quorate '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\" | sort",
            if last.is_empty() { "''" } else { "" }
        );
        let completed = Command::of("bash", "", &["-c", &drive]).run().ok().stdout;
        assert_eq!(completed.lines().collect::<Vec<_>>(), expected, "{line}");
    }
}

#[test]
fn every_verb_has_a_page_that_man_can_show() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dir = scratch.path().join("man1");
    let said = quorate(&["man", "--dir", dir.to_str().expect("a path in UTF-8")]);
    let pages = pages();
    assert!(said.starts_with(&format!("{} pages written", pages.len())), "one a verb: {said}");
    assert_eq!(fs::read_dir(&dir).expect("the directory").count(), pages.len());
    for page in pages {
        let name = page.name().replace(' ', "-");
        let text = fs::read_to_string(dir.join(format!("{name}.1"))).expect(&name);
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES"] {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{name}: {section}");
        }
        assert!(text.contains(&format!(".TH {name} 1 ")), "{name}: its title");
        assert!(!text.contains('\x1b'), "{name}: no colours in a page");
        let args: Vec<&str> = ["man"].into_iter().chain(page.verb.iter().map(String::as_str)).collect();
        assert_eq!(
            quorate(&args),
            text.trim_end().to_owned() + "\n",
            "{name}: on standard output it is the same"
        );
        shown(&dir.join(format!("{name}.1")), &page.examples());
    }
    Command::new("", &["man", "queue", "mkae"]).run().fails(2, &["mkae", "quorate queue", "what to do:"]);
}

/// Where there is `man`, it shows the page without a warning, and the examples in it as they are typed.
fn shown(page: &Path, examples: &[String]) {
    if Command::of("sh", "", &["-c", "command -v man"]).run().code != 0 {
        return;
    }
    let shown =
        Command::of("man", "", &["--warnings", "-E", "UTF-8", "-l", page.to_str().expect("a path in UTF-8")])
            .env("MANWIDTH", Path::new("120"))
            .env("LC_ALL", Path::new("C.UTF-8"))
            .run()
            .ok();
    assert_eq!(shown.stderr, "", "{}", page.display());
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = flat(&shown.stdout);
    for example in examples {
        assert!(text.contains(&flat(example)), "{}: {example:?} in {}", page.display(), shown.stdout);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_told() {
    let taken = QUORATE;
    Command::new("", &["man", "--dir", taken]).run().fails(1, &[taken, "what to do:"]);
}
